# The Basic check of callers: who gets in, and what the others are told. The
# passwords must not be in any log.

use lib 't/lib';
use Token tests => 373;
use Token::Util qw(work_dir spew);
use MIME::Base64 qw(encode_base64);

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';
our $Refused = '{"error":"access_denied","error_description":'
    . '"A valid user name and password are required."}';
our $Challenge = 'WWW-Authenticate: Basic realm="tokens", charset="UTF-8"';

my $dir = work_dir();

$ENV{TEST_NGINX_PASSWORD_FILE} = spew("$dir/password", "file-wonder\n");
chmod 0600, "$dir/password";
$ENV{TOKEN_TEST_PASSWORD} = 'env-wonder';

sub basic { 'Authorization: Basic ' . encode_base64($_[0], '') }

add_block_preprocessor(sub {
    my ($block) = @_;
    my $basic = $block->basic // <<'END';
            token_proxy_auth_basic       tokens;
            token_proxy_auth_basic_user  alice wonderland;
            token_proxy_auth_basic_user  bob   "bui:lder";
END
    my $location = $block->location // '';

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->raw_request
            || $block->pipelined_requests;

    # user: name and password that are sent, header: what is sent instead
    $block->set_value(more_headers => main::basic($block->user))
        if defined $block->user;
    $block->set_value(more_headers => 'Authorization: ' . $block->header)
        if defined $block->header;

    $block->set_value(response_body => $Token) if defined $block->in;

    if (defined $block->out) {
        $block->set_value(error_code => 401);
        $block->set_value(response_body => $Refused);
        $block->set_value(endpoint_calls => 0);
        $block->set_value(response_headers => <<"END");
$Challenge
Content-Type: application/json
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
END
    }

    $block->set_value(secrets => "wonderland\nbui:lder\nenv-wonder\n"
        . "file-wonder\nvariable-wonder\n" . ($block->secrets // ''));

    $block->set_value(config => <<"END" . ($block->outer // ''))
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $basic
            $location
        }
END
        unless defined $block->config;
});

run_tests();

__DATA__

=== TEST 1: a user with the right password
--- user: alice:wonderland
--- in



=== TEST 2: another user, with a colon in the password
--- user: bob:bui:lder
--- in



=== TEST 3: no Authorization
--- out



=== TEST 4: a wrong password
--- user: alice:wonder
--- out
--- error_log
wrong user name or password for the token location



=== TEST 5: a longer password that begins right
--- user: alice:wonderland2
--- out



=== TEST 6: an empty password
--- user: alice:
--- out



=== TEST 7: a user that does not exist
--- user: carol:wonderland
--- out



=== TEST 8: the password of another user
--- user: alice:bui:lder
--- out



=== TEST 9: an empty name
--- user: :wonderland
--- out



=== TEST 10: a name in other letters
--- user: Alice:wonderland
--- out



=== TEST 11: no colon
--- user: alicewonderland
--- out



=== TEST 12: only a colon
--- user: :
--- out



=== TEST 13: a NUL after the password
--- more_headers eval: main::basic("alice:wonderland\0")
--- out



=== TEST 14: a NUL in the name
--- more_headers eval: main::basic("alice\0:wonderland")
--- out



=== TEST 15: nothing after the scheme
--- header: Basic
--- out



=== TEST 16: only spaces after the scheme
--- raw_request eval
"GET /token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic    \r\nConnection: close\r\n\r\n"
--- out



=== TEST 17: no space after the scheme
--- header eval: 'Basic' . MIME::Base64::encode_base64('alice:wonderland', '')
--- out



=== TEST 18: base64 with a wrong character
--- header: Basic YWxpY2U6d29uZGVybGFuZA*=
--- out



=== TEST 19: base64 that is cut off
--- header: Basic YWxpY2U6d29uZGVybGFuZ
--- out



=== TEST 20: something after the end of base64
--- header eval: 'Basic ' . MIME::Base64::encode_base64('alice:wonderland', '') . 'YQ=='
--- out



=== TEST 21: only the filling of base64
--- header: Basic ====
--- out



=== TEST 22: a credential of another scheme
--- header: Bearer YWxpY2U6d29uZGVybGFuZA==
--- out



=== TEST 23: a scheme that begins so
--- header: Basics YWxpY2U6d29uZGVybGFuZA==
--- out



=== TEST 24: the scheme in other letters, with more spaces
--- header: bASIC   YWxpY2U6d29uZGVybGFuZA==
--- in



=== TEST 25: base64 without its filling
--- header: Basic YWxpY2U6d29uZGVybGFuZA
--- out



=== TEST 26: a name of four thousand letters
--- user eval: 'a' x 4000 . ':wonderland'
--- out



=== TEST 27: a password of four thousand letters
--- user eval: 'alice:' . 'w' x 4000
--- out



=== TEST 28: a right password of a thousand letters
--- basic eval
"token_proxy_auth_basic tokens; token_proxy_auth_basic_user alice " . 'w' x 1000 . ';'
--- user eval: 'alice:' . 'w' x 1000
--- in



=== TEST 29: and one letter less
--- basic eval
"token_proxy_auth_basic tokens; token_proxy_auth_basic_user alice " . 'w' x 1000 . ';'
--- user eval: 'alice:' . 'w' x 999
--- out



=== TEST 30: a name and a password outside of ASCII
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  "jürgen" "grün";
--- user: jürgen:grün
--- in



=== TEST 31: the same in Latin-1, as an old client would send it
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  "jürgen" "grün";
--- more_headers eval: main::basic("j\xfcrgen:gr\xfcn")
--- out



=== TEST 32: a password of the environment
--- main_config
    env TOKEN_TEST_PASSWORD;
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  alice env:TOKEN_TEST_PASSWORD;
--- user: alice:env-wonder
--- in



=== TEST 33: a password of a file, without its newline
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  alice file:$TEST_NGINX_PASSWORD_FILE;
--- user: alice:file-wonder
--- in



=== TEST 34: a password of a variable
--- http_config
    map $arg_tenant $password {
        one  variable-wonder;
    }
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  alice $password;
--- request
GET /token?tenant=one
--- user: alice:variable-wonder
--- in



=== TEST 35: a variable that is empty lets nobody in
--- http_config
    map $arg_tenant $password {
        one  variable-wonder;
    }
--- basic
token_proxy_auth_basic       tokens;
token_proxy_auth_basic_user  alice $password;
--- request
GET /token?tenant=two
--- user: alice:
--- out



=== TEST 36: a realm with quotes
--- basic
token_proxy_auth_basic       'the "new" \ tokens';
token_proxy_auth_basic_user  alice wonderland;
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="the \"new\" \\ tokens", charset="UTF-8"



=== TEST 37: off turns off what the server sets
--- config
    token_proxy_auth_basic       tokens;
    token_proxy_auth_basic_user  alice wonderland;

    location = /token {
        token_proxy             on;
        token_proxy_endpoint    $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_basic  off;
    }
--- in



=== TEST 38: users of the server's are the location's
--- config
    token_proxy_auth_basic_user  alice wonderland;

    location = /token {
        token_proxy             on;
        token_proxy_endpoint    $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_basic  tokens;
    }
--- user: alice:wonderland
--- in



=== TEST 39: users of the location's own take their place
--- config
    token_proxy_auth_basic       tokens;
    token_proxy_auth_basic_user  alice wonderland;

    location = /token {
        token_proxy                  on;
        token_proxy_endpoint         $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_basic_user  bob "bui:lder";
    }
--- user: alice:wonderland
--- out



=== TEST 40: other methods are checked too
--- request
POST /token
a=b
--- out



=== TEST 41: HEAD gets the headers
--- request
HEAD /token
--- error_code: 401
--- response_headers
Content-Type: application/json
WWW-Authenticate: Basic realm="tokens", charset="UTF-8"



=== TEST 42: the caller's Authorization does not reach the endpoint
--- config
    location = /token {
        token_proxy                  on;
        token_proxy_endpoint         $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields           *;
        token_proxy_auth_basic       tokens;
        token_proxy_auth_basic_user  alice wonderland;
    }
--- user: alice:wonderland
--- response_body_like chomp
"authorization":"Basic bXkta2V5Om15LXNlY3JldA=="



=== TEST 43: nor where the endpoint gets no Authorization at all
--- config
    location = /token {
        token_proxy                  on;
        token_proxy_endpoint         $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method      client_secret_post;
        token_proxy_fields           *;
        token_proxy_auth_basic       tokens;
        token_proxy_auth_basic_user  alice wonderland;
    }
--- user: alice:wonderland
--- response_body_like chomp
"authorization":""
--- secrets_in_log_ok



=== TEST 44: satisfy any: an address that is allowed needs no password
--- location
    satisfy  any;
    allow    127.0.0.1;
    deny     all;
--- response_headers
!WWW-Authenticate
--- response_body eval: $::Token



=== TEST 45: satisfy any: a password, from an address that is not allowed
--- location
    satisfy  any;
    deny     all;
--- user: alice:wonderland
--- response_headers
!WWW-Authenticate
--- response_body eval: $::Token



=== TEST 46: satisfy any: neither of them
--- location
    satisfy  any;
    deny     all;
--- out



=== TEST 47: satisfy all: the password is right, the address is not
--- location: deny all;
--- user: alice:wonderland
--- error_code: 403
--- response_headers
!WWW-Authenticate
--- endpoint_calls: 0



=== TEST 48: satisfy any with auth_basic: two challenges, and either is enough
--- location
    satisfy               any;
    auth_basic            nginx;
    auth_basic_user_file  ../html/users;
--- user_files
>>> users
dave:{PLAIN}htpasswd
--- user: dave:htpasswd
--- response_headers
!WWW-Authenticate
--- response_body eval: $::Token



=== TEST 49: neither of the two
--- location
    satisfy               any;
    auth_basic            nginx;
    auth_basic_user_file  ../html/users;
--- user_files
>>> users
dave:{PLAIN}htpasswd
--- error_code: 401
--- raw_response_headers_like chomp
(?s)(?=.*realm="tokens").*realm="nginx"
--- response_body eval: $::Refused



=== TEST 50: auth_delay holds back a refusal
--- location: auth_delay 300ms;
--- user: alice:wrong
--- out
--- error_log
delaying unauthorized request



=== TEST 51: the server's error page for 401 gives way to the JSON error
--- outer
    error_page  401 /401.html;
    location = /401.html { return 401 page; }
--- out



=== TEST 52: an error page of the location's own does not, and the challenge stays
--- location: error_page 401 /401.html;
--- outer
    location = /401.html { return 401 page; }
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="tokens", charset="UTF-8"
--- response_body chomp
page



=== TEST 53: filters that change pages leave the answer alone
--- location
    add_after_body   /after;
    addition_types   *;
    sub_filter       access_denied open;
    sub_filter_types *;
--- outer
    location = /after { return 200 after; }
--- out



=== TEST 54: the user's name is in the access log
--- http_config
    log_format  who  '$remote_user $status';
--- location: access_log logs/who.log who;
--- user: alice:wonderland
--- in



=== TEST 55: keepalive: the connection outlives a refusal
--- pipelined_requests eval
["GET /token", "GET /token"]
--- more_headers eval
["", main::basic('alice:wonderland')]
--- error_code eval
[401, 200]
--- response_body eval
[$::Refused, $::Token]
