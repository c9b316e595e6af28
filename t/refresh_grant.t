# A caller's own refresh token: sent on with the client's authentication.

use lib 't/lib';
use Token tests => 211;

# --- form     the body of the caller's POST, as a form
# --- inside   more lines of the token location, which answers /echo
add_block_preprocessor(sub {
    my ($block) = @_;
    my $inside = $block->inside // '';

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy                on;
            token_proxy_endpoint       \$TEST_NGINX_ENDPOINT/echo;
            token_proxy_refresh_grant  on;
            token_proxy_fields         *;
            $inside
        }
END

    if (defined(my $form = $block->form)) {
        chomp $form;
        $block->set_value(request => "POST /token\n$form");
        $block->set_value(more_headers => ($block->more_headers // '')
            . "Content-Type: application/x-www-form-urlencoded\n");
    }

    $block->set_value(secrets => ($block->secrets // '')
        . "of-the-caller\nof%2Dthe%2Dcaller\n");
});

our $Malformed = qq({"error":"invalid_request",)
    . qq("error_description":"The request is malformed."});
our $Missing = qq({"error":"invalid_request",)
    . qq("error_description":"The refresh token is missing."});
our $Unsupported = qq({"error":"unsupported_grant_type",)
    . qq("error_description":"This grant type is not supported."});
our $Invalid = qq({"error":"invalid_grant",)
    . qq("error_description":"The refresh token is not valid."});

# An endpoint that answers every request in one way: status, body.
sub answers {
    my ($status, $body) = @_;

    return "server {
        listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
        error_log logs/endpoint.log info;
        access_log logs/endpoint_calls.log;
        default_type application/json;
        return $status '$body';
    }";
}

our $Config = '
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        token_proxy_refresh_grant  on;
    }';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: the refresh token arrives, with the client's authentication
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_body_like eval
quotemeta('"authorization":"Basic bXkta2V5Om15LXNlY3JldA=="') . '.*'
    . quotemeta '"body":"grant_type=refresh_token&refresh_token=of-the-caller"'
--- endpoint_calls: 1



=== TEST 2: the scope arrives, in any order
--- form
scope=read+write&refresh_token=of%2Dthe%2Dcaller&grant_type=refresh%5Ftoken
--- response_body_like eval
quotemeta '"body":"grant_type=refresh_token&refresh_token=of-the-caller'
    . '&scope=read+write"'



=== TEST 3: nothing else arrives, of the caller or of the location
--- inside
token_proxy_param  audience  https://api.example;
--- form
grant_type=refresh_token&refresh_token=of-the-caller&client_id=x&client_secret=y&audience=z&a=b
--- more_headers
Authorization: Bearer of-somebody
Cookie: a=b
--- response_body_like eval
quotemeta('"cookie":""') . '.*'
    . quotemeta '"body":"grant_type=refresh_token&refresh_token=of-the-caller"'



=== TEST 4: values are decoded and encoded again
--- form
grant_type=refresh_token&refresh_token=of-the-caller+%2b%26%3d%25%2F~&scope=%61
--- response_body_like eval
quotemeta '"body":"grant_type=refresh_token&'
    . 'refresh_token=of-the-caller+%2B%26%3D%25%2F%7E&scope=a"'



=== TEST 5: the answer is the subset
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_refresh_grant  on;
    }
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_headers
Content-Type: application/json
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
--- response_body chomp
{"access_token":"the-access-token","refresh_token":"the-refresh-token"}



=== TEST 6: client_secret_post
--- inside
token_proxy_auth_method  client_secret_post;
--- form
grant_type=refresh_token&refresh_token=of-the-caller&scope=a
--- response_body_like eval
quotemeta '"body":"grant_type=refresh_token&client_id=my-key'
    . '&client_secret=my-secret&refresh_token=of-the-caller&scope=a"'



=== TEST 7: an assertion
--- inside
token_proxy_auth_method  client_secret_jwt;
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_body_like eval
quotemeta('"body":"grant_type=refresh_token&client_id=my-key'
    . '&refresh_token=of-the-caller&client_assertion_type=') . '[\w%.-]+'
    . '&client_assertion=[\w-]+\.[\w-]+\.[\w-]+"'
--- no_error_log
eyJ



=== TEST 8: off by default: the body is discarded
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 9: on for a server, off for a location
--- config
    token_proxy_refresh_grant  on;

    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_refresh_grant  off;
        token_proxy_fields         *;
    }
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 10: a POST without a grant type is as ever
--- form
a=b&refresh_token=of-the-caller
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 11: a grant type without a value is none
--- form
grant_type=&refresh_token=of-the-caller
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 12: an empty POST is as ever
--- request
POST /token
--- more_headers
Content-Type: application/x-www-form-urlencoded
Content-Length: 0
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 13: a POST with another type is as ever
--- request
POST /token
grant_type=refresh_token&refresh_token=of-the-caller
--- more_headers
Content-Type: application/x-www-form-urlencoded2
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 14: a type with a parameter, in capitals
--- request
POST /token
grant_type=refresh_token&refresh_token=of-the-caller
--- more_headers
Content-Type: Application/X-WWW-Form-URLEncoded; charset=utf-8
--- response_body_like: refresh_token=of-the-caller



=== TEST 15: a GET is as ever, whatever its body or query
--- request
GET /token?grant_type=refresh_token&refresh_token=of-somebody
grant_type=refresh_token&refresh_token=of-the-caller
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body_like: "body":"grant_type=client_credentials"



=== TEST 16: another grant type
--- form
grant_type=password&username=u&password=p
--- error_code: 400
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body eval: $::Unsupported
--- endpoint_calls: 0



=== TEST 17: the grant type of the location, too
--- form
grant_type=client_credentials
--- error_code: 400
--- response_body eval: $::Unsupported
--- endpoint_calls: 0



=== TEST 18: a grant type that only begins like this one
--- form
grant_type=refresh_token2&refresh_token=of-the-caller
--- error_code: 400
--- response_body eval: $::Unsupported
--- endpoint_calls: 0



=== TEST 19: no refresh token
--- form
grant_type=refresh_token
--- error_code: 400
--- response_body eval: $::Missing
--- endpoint_calls: 0



=== TEST 20: an empty refresh token
--- form
grant_type=refresh_token&refresh_token=
--- error_code: 400
--- response_body eval: $::Missing
--- endpoint_calls: 0



=== TEST 21: a refresh token without a value
--- form
grant_type=refresh_token&refresh_token&scope=a
--- error_code: 400
--- response_body eval: $::Missing
--- endpoint_calls: 0



=== TEST 22: two refresh tokens
--- form
grant_type=refresh_token&refresh_token=of-the-caller&refresh_token=other
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 23: two grant types
--- form
grant_type=refresh_token&refresh_token=of-the-caller&grant%5ftype=refresh_token
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 24: two grant types, of which the first has no value
--- form
grant_type&refresh_token=of-the-caller&grant_type=refresh_token
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 25: two scopes
--- form
grant_type=refresh_token&refresh_token=of-the-caller&scope=a&scope=a
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 26: a percent sign without digits
--- form
grant_type=refresh_token&refresh_token=of-the-caller%zz
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 27: a percent sign at the end
--- form
grant_type=refresh_token&refresh_token=of-the-caller%2
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 28: a percent sign before the next parameter
--- form
refresh_token=of-the-caller%2&grant_type=refresh_token
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 29: a newline in the refresh token
--- form
grant_type=refresh_token&refresh_token=of-the-caller%0a
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 30: a NUL in the refresh token
--- form
grant_type=refresh_token&refresh_token=of-the-caller%00
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 31: letters outside of ASCII in the scope
--- form
grant_type=refresh_token&refresh_token=of-the-caller&scope=%C3%BC
--- error_code: 400
--- response_body eval: $::Malformed
--- endpoint_calls: 0



=== TEST 32: empty pairs
--- form
&&grant_type=refresh_token&&=&=x&refresh_token=of-the-caller&
--- response_body_like eval
quotemeta '"body":"grant_type=refresh_token&refresh_token=of-the-caller"'



=== TEST 33: as much as there may be
--- request eval
"POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller&a=" . 'x' x 8137
--- more_headers
Content-Type: application/x-www-form-urlencoded
Content-Length: 8192
--- response_body_like: "body":"grant_type=refresh_token&refresh_token=of-the-caller"



=== TEST 34: a byte more
--- request eval
"POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller&a=" . 'x' x 8138
--- more_headers
Content-Type: application/x-www-form-urlencoded
Content-Length: 8193
--- error_code: 413
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body chomp
{"error":"invalid_request","error_description":"The request is too large."}
--- endpoint_calls: 0



=== TEST 35: without a length
--- raw_request eval
"POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
. "Content-Type: application/x-www-form-urlencoded\r\n"
. "Transfer-Encoding: chunked\r\n\r\n"
. "d\r\ngrant_type=re\r\n0\r\n\r\n"
--- error_code: 411
--- response_headers
Content-Type: application/json
--- response_body chomp
{"error":"invalid_request","error_description":"The length of the request is missing."}
--- endpoint_calls: 0



=== TEST 36: in memory, whatever the size of nginx's buffer
--- inside
client_body_buffer_size   16;
client_body_in_file_only  clean;
--- request eval
"POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller&a=" . 'x' x 4000
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body_like: "body":"grant_type=refresh_token&refresh_token=of-the-caller"
--- no_error_log
a client request body is buffered to a temporary file



=== TEST 37: in pieces
--- raw_request eval
["POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
 . "Content-Type: application/x-www-form-urlencoded\r\n"
 . "Content-Length: 52\r\n\r\ngrant_type=refresh_to", 'ken&refresh_token=of',
 '-the-caller']
--- raw_request_middle_delay: 0.2
--- response_body_like: "body":"grant_type=refresh_token&refresh_token=of-the-caller"



=== TEST 38: the connection is kept
--- pipelined_requests eval
["POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller",
 "POST /token\ngrant_type=a",
 "POST /token\na=b"]
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- error_code eval: [200, 400, 200]
--- response_body_like eval
['refresh_token=of-the-caller', 'unsupported_grant_type',
 'grant_type=client_credentials']



=== TEST 39: never from the cache, and never into it
--- http_config
    token_proxy_cache_zone  zone=tokens:1m;
--- inside
token_proxy_cache  tokens;
--- request eval
["POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller", "POST /token\na=b",
 "POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller", "POST /token\na=b",
 "POST /token\ngrant_type=refresh_token&refresh_token=another"]
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body_like eval
['refresh_token=of-the-caller"', 'client_credentials"',
 'refresh_token=of-the-caller"', 'client_credentials"', 'refresh_token=another"']
--- endpoint_calls: 4



=== TEST 40: the endpoint finds the refresh token invalid
--- http_config eval
::answers(400, '{"error":"invalid_grant","error_description":"no such token"}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 400
--- response_headers
Content-Type: application/json
Cache-Control: no-store
Pragma: no-cache
--- response_body eval: $::Invalid
--- error_log eval
qr/\[info\] .* answered 400, error: invalid_grant, description: no such token/
--- no_error_log
[error]



=== TEST 41: the same answer to the location's own grant is the endpoint's error
--- http_config eval
::answers(400, '{"error":"invalid_grant"}')
--- config eval: $::Config
--- request
GET /token
--- error_code: 502
--- error_log eval
qr/\[error\] .* answered 400, error: invalid_grant/



=== TEST 42: invalid_grant with another status
--- http_config eval
::answers(401, '{"error":"invalid_grant"}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 400
--- response_body eval: $::Invalid



=== TEST 43: the client is refused: no matter of the caller's
--- http_config eval
::answers(401, '{"error":"invalid_client"}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 502
--- response_body chomp
{"error":"server_error","error_description":"The token endpoint refused the request."}
--- error_log eval
qr/\[error\] .* answered 401, error: invalid_client/



=== TEST 44: invalid_scope, where the caller has sent no scope
--- http_config eval
::answers(400, '{"error":"invalid_scope"}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 400
--- response_body eval: $::Invalid



=== TEST 45: an error that repeats the refresh token
--- http_config eval
::answers(400, '{"error":"invalid_grant","error_description":"<of-the-caller> is unknown"}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 400
--- response_body eval: $::Invalid
--- error_log
description: (not shown)



=== TEST 46: a busy endpoint
--- http_config eval
::answers(503, '{}')
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 503
--- response_headers
Retry-After: 1



=== TEST 47: a slow endpoint
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/hang;
        token_proxy_refresh_grant  on;
        proxy_read_timeout         500ms;
    }
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 504



=== TEST 48: an endpoint that is not there
--- config eval: $::Config
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 502



=== TEST 49: limits are those of the location
--- http_config
    limit_req_zone  $server_name zone=limit:1m rate=1r/m;
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_refresh_grant  on;
        token_proxy_fields         *;
        limit_req                  zone=limit;
    }
--- pipelined_requests eval
["POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller",
 "POST /token\ngrant_type=refresh_token&refresh_token=of-the-caller"]
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- error_code eval: [200, 503]
--- endpoint_calls: 1



=== TEST 50: without POST it is of no use
--- inside
token_proxy_methods  GET;
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- error_code: 405
--- error_log
"token_proxy_refresh_grant" is of no use without POST in "token_proxy_methods" in
--- endpoint_calls: 0



=== TEST 51: a body that another module has read, and mirrors
--- inside
mirror                    /mirror;
client_body_in_file_only  on;
--- form
grant_type=refresh_token&refresh_token=of-the-caller
--- response_body_like: "body":"grant_type=refresh_token&refresh_token=of-the-caller"



=== TEST 52: the directive takes on or off
--- inside
token_proxy_refresh_grant  maybe;
--- must_die
--- suppress_stderr
--- error_log
[emerg]
"token_proxy_refresh_grant" directive is duplicate



=== TEST 53: variables of the location are the caller's
--- inside
token_proxy_client_id      "id-$arg_tenant";
token_proxy_client_secret  my-secret;
token_proxy_auth_method    client_secret_post;
--- request
POST /token?tenant=7
grant_type=refresh_token&refresh_token=of-the-caller
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body_like: "body":"grant_type=refresh_token&client_id=id-7&client_secret=my-secret&refresh_token=of-the-caller"
