# The methods of a caller.

use lib 't/lib';
use Token tests => 110;

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value(config => <<'END') unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        }
END
});

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';
our $NotAllowed = '{"error":"invalid_request",'
    . '"error_description":"This method is not allowed."}';

run_tests();

__DATA__

=== TEST 1: GET
--- request
GET /token
--- response_body eval: $::Token
--- endpoint_calls: 1



=== TEST 2: POST
--- request
POST /token
--- more_headers
Content-Length: 0
--- response_body eval: $::Token
--- endpoint_calls: 1



=== TEST 3: POST with a body, which is discarded, and the connection is kept
--- pipelined_requests eval
["POST /token\n" . 'x' x 100000, "POST /token\na=b", 'GET /token']
--- response_body eval: [$::Token, $::Token, $::Token]
--- endpoint_calls: 3



=== TEST 4: POST that waits to be told to go on
--- raw_request eval
["POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
 . "Expect: 100-continue\r\nConnection: close\r\n\r\n", 'a=b']
--- raw_request_middle_delay: 0.3
--- ignore_response
--- error_log
send 100 Continue
--- endpoint_calls: 1



=== TEST 5: POST whose body is larger than client_max_body_size is nginx's 413
--- config
    location = /token {
        client_max_body_size  1k;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- request eval
"POST /token\n" . 'x' x 2000
--- error_code: 413
--- error_log
client intended to send too large body
--- endpoint_calls: 0



=== TEST 6: HEAD is GET without the body
--- request
HEAD /token
--- response_headers
Content-Type: application/json
Content-Length: 71
Cache-Control: no-store
--- response_body
--- endpoint_calls: 1



=== TEST 7: HEAD of an error is its headers
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }
--- request
HEAD /token
--- error_code: 502
--- response_headers
Content-Type: application/json
Content-Length: 86
--- response_body



=== TEST 8: PUT, DELETE, PATCH and others are not allowed
--- request eval
["PUT /token\nx", 'DELETE /token', "PATCH /token\nx", 'MKCOL /token',
 'PROPFIND /token']
--- error_code eval: [405, 405, 405, 405, 405]
--- response_headers eval
[("Allow: GET, HEAD, POST, OPTIONS\nContent-Type: application/json\n"
  . "Cache-Control: no-store\nPragma: no-cache\n"
  . 'X-Content-Type-Options: nosniff') x 5]
--- response_body eval: [($::NotAllowed) x 5]
--- endpoint_calls: 0



=== TEST 9: a method that nginx does not know is not allowed
--- request
BREW /token
--- error_code: 405
--- response_headers
Allow: GET, HEAD, POST, OPTIONS
--- response_body eval: $::NotAllowed
--- endpoint_calls: 0



=== TEST 10: a method that nginx does not know, and methods of one's own
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_methods   GET POST;
    }
--- request
BREW /token
--- error_code: 405
--- endpoint_calls: 0



=== TEST 11: a body of a method that is not allowed does not spoil the connection
--- pipelined_requests eval
["PUT /token\n" . 'x' x 100000, 'GET /token']
--- error_code eval: [405, 200]
--- response_body eval: [$::NotAllowed, $::Token]
--- endpoint_calls: 1



=== TEST 12: GET alone
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_methods   GET;
    }
--- request eval
['GET /token', 'HEAD /token', "POST /token\nx"]
--- error_code eval: [200, 200, 405]
--- response_headers eval: ['!Allow', '!Allow', 'Allow: GET, HEAD, OPTIONS']
--- endpoint_calls: 2



=== TEST 13: POST alone: no HEAD without GET
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_methods   POST;
    }
--- request eval
["POST /token\nx", 'GET /token', 'HEAD /token']
--- error_code eval: [200, 405, 405]
--- response_headers eval: ['!Allow', 'Allow: POST, OPTIONS', 'Allow: POST, OPTIONS']
--- endpoint_calls: 1



=== TEST 14: methods of server level, and of the location instead
--- config
    token_proxy_methods  POST;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }

    location = /own {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_methods   GET;
    }
--- request eval
['GET /token', 'GET /own', "POST /own\nx"]
--- error_code eval: [405, 200, 405]



=== TEST 15: an error_page of the location for 405
--- config
    location = /token {
        error_page            405 /405.html;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }

    location = /405.html {
        return  200 "of the user";
    }
--- request
DELETE /token
--- error_code: 405
--- response_body chomp
of the user
--- endpoint_calls: 0
