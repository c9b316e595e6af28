# OPTIONS, and what a preflight is told.

use lib 't/lib';
use Token tests => 180;

our $Denied = '{"error":"access_denied",'
    . '"error_description":"This origin is not allowed."}';

add_block_preprocessor(sub {
    my ($block) = @_;
    my $cors = $block->cors // 'token_proxy_cors_origin https://a.example.com;';
    my $more = $block->location // '';

    $block->set_value(request => 'OPTIONS /token')
        unless $block->request || $block->raw_request;

    # preflight: the headers that it has besides the two that make it one
    if (defined $block->preflight) {
        my $method = $block->method // 'GET';

        $block->set_value(more_headers => "Origin: https://a.example.com\n"
            . "Access-Control-Request-Method: $method\n" . $block->preflight);
    }

    $block->set_value(error_code => 204) unless defined $block->error_code;
    $block->set_value(endpoint_calls => 0);

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $cors
            $more
        }
END
});

run_tests();

__DATA__

=== TEST 1: a preflight
--- preflight
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS
Access-Control-Allow-Headers: Content-Type, Authorization
Access-Control-Max-Age: 600
Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers
!Access-Control-Allow-Credentials
!Access-Control-Allow-Private-Network
!Access-Control-Expose-Headers
!Content-Type
!Content-Length
!Transfer-Encoding
--- response_body



=== TEST 2: a header that is allowed, in small letters as browsers send it
--- preflight
Access-Control-Request-Headers: authorization,content-type
--- response_headers
Access-Control-Allow-Headers: Content-Type, Authorization



=== TEST 3: a header that is not allowed
--- preflight
Access-Control-Request-Headers: authorization,x-evil
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS
!Access-Control-Allow-Headers



=== TEST 4: a name that begins as an allowed one
--- preflight
Access-Control-Request-Headers: authorization2
--- response_headers
!Access-Control-Allow-Headers



=== TEST 5: headers that every page may send need no listing
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_headers  X-Client;
--- preflight
Access-Control-Request-Headers: accept, content-type, X-CLIENT
--- response_headers
Access-Control-Allow-Headers: X-Client



=== TEST 6: a list of one's own takes the place of the default
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_headers  X-Client X-Version;
--- preflight
Access-Control-Request-Headers: authorization
--- response_headers
!Access-Control-Allow-Headers



=== TEST 7: any header: those that are asked for, since a star leaves out Authorization
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_headers  *;
--- preflight
Access-Control-Request-Headers: authorization, x-anything
--- response_headers
Access-Control-Allow-Headers: authorization, x-anything



=== TEST 8: any header, with credentials too
--- cors
token_proxy_cors_origin       https://a.example.com;
token_proxy_cors_headers      *;
token_proxy_cors_credentials  on;
--- preflight
Access-Control-Request-Headers: x-anything
--- response_headers
Access-Control-Allow-Headers: x-anything
Access-Control-Allow-Credentials: true



=== TEST 9: a method that is not allowed
--- method: DELETE
--- preflight
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
!Access-Control-Allow-Methods
Access-Control-Allow-Headers: Content-Type, Authorization



=== TEST 10: a part of a method's name is no method
--- method: GE
--- preflight
--- response_headers
!Access-Control-Allow-Methods



=== TEST 11: methods are compared by case
--- method: get
--- preflight
--- response_headers
!Access-Control-Allow-Methods



=== TEST 12: methods follow token_proxy_methods
--- location: token_proxy_methods POST;
--- preflight
--- response_headers
!Access-Control-Allow-Methods
Allow: POST, OPTIONS



=== TEST 13: methods of one's own
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_methods  POST;
--- method: POST
--- preflight
--- response_headers
Access-Control-Allow-Methods: POST



=== TEST 14: an empty Access-Control-Request-Method
--- raw_request eval
"OPTIONS /token HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example.com\r\nAccess-Control-Request-Method:\r\nConnection: close\r\n\r\n"
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
!Access-Control-Allow-Methods



=== TEST 15: how long a browser may remember it
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_max_age  1h;
--- preflight
--- response_headers
Access-Control-Max-Age: 3600



=== TEST 16: not at all
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_max_age  0;
--- preflight
--- response_headers
Access-Control-Max-Age: 0



=== TEST 17: credentials
--- cors
token_proxy_cors_origin       https://a.example.com;
token_proxy_cors_credentials  on;
--- preflight
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
Access-Control-Allow-Credentials: true



=== TEST 18: a page of the internet that asks for a server of the intranet
--- preflight
Access-Control-Request-Private-Network: true
--- response_headers
Access-Control-Allow-Private-Network: true



=== TEST 19: from an origin that is not allowed
--- more_headers
Origin: https://b.example.com
Access-Control-Request-Method: GET
Access-Control-Request-Private-Network: true
--- error_code: 403
--- response_body eval: $::Denied
--- response_headers
!Access-Control-Allow-Origin
!Access-Control-Allow-Methods
!Access-Control-Allow-Headers
!Access-Control-Allow-Private-Network
!Access-Control-Max-Age
Vary: Origin



=== TEST 20: any origin
--- cors: token_proxy_cors_origin *;
--- preflight
--- response_headers
Access-Control-Allow-Origin: *
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS
Vary: Access-Control-Request-Method, Access-Control-Request-Headers



=== TEST 21: OPTIONS that is no preflight
--- response_headers
Allow: GET, HEAD, POST, OPTIONS
!Access-Control-Allow-Origin
!Access-Control-Allow-Methods
Vary: Origin
--- response_body



=== TEST 22: OPTIONS of a page, that is no preflight
--- more_headers
Origin: https://a.example.com
--- response_headers
Allow: GET, HEAD, POST, OPTIONS
Access-Control-Allow-Origin: https://a.example.com
!Access-Control-Allow-Methods
!Access-Control-Max-Age



=== TEST 23: OPTIONS without Origin is no preflight
--- more_headers
Access-Control-Request-Method: GET
--- response_headers
Allow: GET, HEAD, POST, OPTIONS
!Access-Control-Allow-Methods



=== TEST 24: where CORS is off, a preflight is told nothing
--- cors
--- preflight
--- response_headers
Allow: GET, HEAD, POST, OPTIONS
!Access-Control-Allow-Origin
!Access-Control-Allow-Methods
!Vary



=== TEST 25: a GET is no preflight, whatever it says
--- request
GET /token
--- location
    deny all;
--- preflight
--- error_code: 403
--- response_headers
!Access-Control-Allow-Methods
!Access-Control-Max-Age
--- error_log
access forbidden by rule



=== TEST 26: OPTIONS with a body, and the connection goes on
--- raw_request eval
"OPTIONS /token HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example.com\r\n"
. "Access-Control-Request-Method: POST\r\nContent-Length: 5\r\n\r\nhello"
. "GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
--- response_body_like chomp
^HTTP/1.1 404



=== TEST 27: before deny
--- location: deny all;
--- preflight
--- response_headers
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS



=== TEST 28: before auth_basic
--- location
    auth_basic            "nginx";
    auth_basic_user_file  /dev/null;
--- preflight
--- response_headers
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS
!WWW-Authenticate



=== TEST 29: before auth_request
--- config
    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cors_origin  https://a.example.com;
        auth_request             /auth;
    }

    location = /auth {
        return  403;
    }
--- preflight
--- response_headers
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS



=== TEST 30: before the Basic check
--- location
    token_proxy_auth_basic       "tokens";
    token_proxy_auth_basic_user  alice wonder;
--- preflight
--- response_headers
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS
!WWW-Authenticate



=== TEST 31: before limit_req, which counts no preflight
--- http_config
    limit_req_zone  $server_name zone=one:1m rate=1r/m;
--- location: limit_req zone=one;
--- preflight
--- request eval
["OPTIONS /token", "OPTIONS /token", "OPTIONS /token"]
--- error_code eval
[204, 204, 204]



=== TEST 32: before limit_except
--- location
    limit_except GET POST {
        deny  all;
    }
--- preflight
--- response_headers
Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS



=== TEST 33: headers in two lines are not allowed
--- preflight
Access-Control-Request-Headers: authorization
Access-Control-Request-Headers: content-type
--- response_headers
!Access-Control-Allow-Headers



=== TEST 34: a name with a control character is not sent back
--- cors
token_proxy_cors_origin   https://a.example.com;
token_proxy_cors_headers  *;
--- raw_request eval
"OPTIONS /token HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example.com\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: a\x01b\r\nConnection: close\r\n\r\n"
--- response_headers
Access-Control-Allow-Origin: https://a.example.com
!Access-Control-Allow-Headers
