# What nginx -t says about the directives of the Basic check.

use lib 't/lib';
use Token tests => 75;
use Token::Util qw(work_dir spew);

my $dir = work_dir();

$ENV{TEST_NGINX_TWO_LINES} = spew("$dir/two", "wonder\nland\n");
$ENV{TEST_NGINX_EMPTY} = spew("$dir/empty", "\n");
chmod 0600, "$dir/two", "$dir/empty";

add_block_preprocessor(sub {
    my ($block) = @_;

    if (defined $block->wrong) {
        $block->set_value(must_die => '');
        $block->set_value(error_log => $block->says);
    }

    my $basic = $block->wrong // $block->basic // '';

    $block->set_value(secrets => "wonder\n");
    $block->set_value(request => 'GET /token')
        unless defined $block->must_die || defined $block->request;

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $basic
        }
END
});

run_tests();

__DATA__

=== TEST 1: users without a realm would let everybody in
--- wrong: token_proxy_auth_basic_user alice wonder;
--- says: "token_proxy_auth_basic_user" needs "token_proxy_auth_basic", without it everybody may call



=== TEST 2: also where the users are the server's
--- config
    token_proxy_auth_basic_user  alice wonder;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- must_die
--- error_log
needs "token_proxy_auth_basic"



=== TEST 3: a realm without users
--- wrong: token_proxy_auth_basic tokens;
--- says: "token_proxy_auth_basic" needs "token_proxy_auth_basic_user", without it nobody may call



=== TEST 4: a user twice
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice wonder;
token_proxy_auth_basic_user alice wonder2;
--- says: duplicate user "alice" in "token_proxy_auth_basic_user"



=== TEST 5: a name with a colon
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user a:b wonder;
--- says: the name of "token_proxy_auth_basic_user" contains a colon



=== TEST 6: an empty name
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user "" wonder;
--- says: the name of "token_proxy_auth_basic_user" is empty



=== TEST 7: an empty password
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice "";
--- says: the value of "token_proxy_auth_basic_user" is empty



=== TEST 8: a file without a password
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice file:$TEST_NGINX_EMPTY;
--- says: the value of "token_proxy_auth_basic_user" is empty



=== TEST 9: a file of two lines
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice file:$TEST_NGINX_TWO_LINES;
--- says: the value of "token_proxy_auth_basic_user" contains a control character, such as a newline



=== TEST 10: a variable of the environment that is not set
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice env:TOKEN_TEST_NOT_SET;
--- says: environment variable "TOKEN_TEST_NOT_SET" of "token_proxy_auth_basic_user" is not set



=== TEST 11: a password that is not UTF-8
--- wrong eval
"token_proxy_auth_basic tokens; token_proxy_auth_basic_user alice \"gr\xfcn\";"
--- says: the value of "token_proxy_auth_basic_user" is not UTF-8



=== TEST 12: an empty realm
--- wrong
token_proxy_auth_basic "";
token_proxy_auth_basic_user alice wonder;
--- says: the realm of "token_proxy_auth_basic" is empty



=== TEST 13: a realm with a newline
--- wrong
token_proxy_auth_basic "tok\nens";
token_proxy_auth_basic_user alice wonder;
--- says: the realm of "token_proxy_auth_basic" contains a control character



=== TEST 14: a realm with a variable
--- wrong
token_proxy_auth_basic "tokens of $host";
token_proxy_auth_basic_user alice wonder;
--- says: the realm of "token_proxy_auth_basic" cannot have variables



=== TEST 15: two realms
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic off;
--- says: "token_proxy_auth_basic" directive is duplicate



=== TEST 16: a variable that does not exist
--- wrong
token_proxy_auth_basic tokens;
token_proxy_auth_basic_user alice $no_such_variable;
--- says: the value of "token_proxy_auth_basic_user" has a "$" before a name that is no variable's, write "literal:" before a value that is to be taken as it is



=== TEST 17: users are of no use where the check is off
--- config
    token_proxy_auth_basic_user  alice wonder;

    location = /token {
        token_proxy             on;
        token_proxy_endpoint    $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_basic  off;
    }
--- response_headers
!WWW-Authenticate



=== TEST 18: a check in a location without a token protects nothing, and says so
--- config
    location = /token {
        token_proxy_auth_basic       tokens;
        token_proxy_auth_basic_user  alice wonder;
        return                       200 open;
    }
--- response_body chomp
open
--- error_log
"token_proxy_auth_basic" does not protect location "/token"



=== TEST 19: but one around a token location does
--- config
    location /api/ {
        token_proxy_auth_basic       tokens;
        token_proxy_auth_basic_user  alice wonder;

        location = /api/token {
            token_proxy           on;
            token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        }
    }
--- request
GET /api/token
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="tokens", charset="UTF-8"
--- no_error_log
does not protect location
