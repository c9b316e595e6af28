# CORS headers on every response of a token location, whoever made it.

use lib 't/lib';
use Token tests => 214;

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';

add_block_preprocessor(sub {
    my ($block) = @_;
    my $path = $block->path // 'ok';
    my $more = $block->location // '';
    my $outer = $block->outer // '';

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->raw_request;

    $block->set_value(more_headers => "Origin: https://a.example.com\n"
        . ($block->headers // '')) unless defined $block->more_headers;

    $block->set_value(response_headers => <<'END' . ($block->and_headers // ''))
Access-Control-Allow-Origin: https://a.example.com
Access-Control-Expose-Headers: Retry-After, WWW-Authenticate
Vary: Origin
END
        unless defined $block->response_headers
            || defined $block->raw_response_headers_like
            || ref $block->request || $block->request =~ /^\[/;

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy                      on;
            token_proxy_endpoint             \$TEST_NGINX_ENDPOINT/$path;
            token_proxy_cors_origin          https://a.example.com;
            token_proxy_cors_expose_headers  Retry-After WWW-Authenticate;
            $more
        }
        $outer
END
});

run_tests();

__DATA__

=== TEST 1: a token
--- response_body eval: $::Token



=== TEST 2: HEAD
--- request
HEAD /token



=== TEST 3: 401 of nginx's auth_basic
--- location
    auth_basic            "nginx";
    auth_basic_user_file  /dev/null;
--- error_code: 401
--- and_headers
WWW-Authenticate: Basic realm="nginx"



=== TEST 4: 401 of the Basic check
--- location
    token_proxy_auth_basic       "tokens";
    token_proxy_auth_basic_user  alice wonder;
--- error_code: 401
--- and_headers
WWW-Authenticate: Basic realm="tokens", charset="UTF-8"



=== TEST 5: 403 of deny
--- location: deny all;
--- error_code: 403



=== TEST 6: 403 of auth_request
--- location: auth_request /auth;
--- outer
    location = /auth { return 403; }
--- error_code: 403



=== TEST 7: 401 of auth_request, with the service's challenge
--- location: auth_request /auth;
--- outer
    location = /auth {
        add_header  WWW-Authenticate 'Bearer realm="auth"' always;
        return      401;
    }
--- error_code: 401



=== TEST 8: 405
--- request
DELETE /token
--- error_code: 405
--- and_headers
Allow: GET, HEAD, POST, OPTIONS



=== TEST 9: 413, which nginx makes before anything else
--- location: client_max_body_size 1;
--- request
POST /token
too long
--- error_code: 413



=== TEST 10: 413 of an origin that is not allowed
--- location: client_max_body_size 1;
--- more_headers
Origin: https://b.example.com
--- request
POST /token
too long
--- error_code: 413
--- response_headers
!Access-Control-Allow-Origin
Vary: Origin



=== TEST 11: 429 of limit_req
--- http_config
    limit_req_zone  $server_name zone=one:1m rate=1r/m;
--- location
    limit_req         zone=one;
    limit_req_status  429;
--- more_headers
Origin: https://a.example.com
--- request eval
["GET /token", "GET /token"]
--- error_code eval
[200, 429]
--- response_headers eval
["Access-Control-Allow-Origin: https://a.example.com",
 "Access-Control-Allow-Origin: https://a.example.com"]



=== TEST 12: 503 of limit_req
--- http_config
    limit_req_zone  $server_name zone=one:1m rate=1r/m;
--- location: limit_req zone=one;
--- more_headers
Origin: https://a.example.com
--- request eval
["GET /token", "GET /token"]
--- error_code eval
[200, 503]
--- response_headers eval
["Access-Control-Allow-Origin: https://a.example.com",
 "Access-Control-Allow-Origin: https://a.example.com"]



=== TEST 13: 502
--- path: 401
--- error_code: 502



=== TEST 14: 503 of the endpoint
--- path: 429
--- error_code: 503
--- and_headers
Retry-After: 1



=== TEST 15: 504
--- path: hang
--- location: proxy_read_timeout 200ms;
--- error_code: 504



=== TEST 16: return, in the rewrite phase
--- location: return 410;
--- error_code: 410



=== TEST 17: an "if" inside the location
--- location
    if ($arg_no) {
        return  403;
    }
--- request
GET /token?no=1
--- error_code: 403



=== TEST 18: an error page of the server's for nginx's 403
--- location: deny all;
--- outer
    error_page  403 /403.html;
    location = /403.html { return 403 page; }
--- error_code: 403
--- response_body chomp
page



=== TEST 19: an error page of the location's for 502
--- path: 401
--- location: error_page 502 /502.html;
--- outer
    location = /502.html { return 502 page; }
--- error_code: 502
--- response_body chomp
page



=== TEST 20: a named location, with a status of its own
--- path: 401
--- location: error_page 502 = @fallback;
--- outer
    location @fallback { return 200 '{"access_token":"none"}'; }
--- response_body chomp
{"access_token":"none"}



=== TEST 21: an error page for the 413 that nginx makes before anything else
--- location
    client_max_body_size  1;
    error_page            413 = /413.html;
--- outer
    location = /413.html { return 200 page; }
--- request
POST /token
too long
--- response_body chomp
page



=== TEST 22: an error page of a "return"
--- location
    error_page             410 =404 /410.html;
    recursive_error_pages  on;
    return                 410;
--- outer
    location = /410.html { return 404 page; }
--- error_code: 404
--- response_body chomp
page



=== TEST 23: an error page that has an error page
--- location
    error_page             410 /410.html;
    recursive_error_pages  on;
    return                 410;
--- outer
    location = /410.html {
        recursive_error_pages  on;
        error_page             404 = @missing;
        return                 404;
    }
    location @missing { return 404 missing; }
--- error_code: 404
--- response_body chomp
missing



=== TEST 24: an error page in another place
--- location
    error_page  403 https://www.example.com/login;
    deny        all;
--- error_code: 302
--- and_headers
Location: https://www.example.com/login



=== TEST 25: an error page with arguments and variables
--- location
    error_page  403 /403.html?from=$uri&a=b;
    deny        all;
--- outer
    location = /403.html { return 403 "$args"; }
--- error_code: 403
--- response_body chomp
from=/token&a=b



=== TEST 26: an error page with arguments
--- location
    error_page  403 /403.html?a=b;
    deny        all;
--- outer
    location = /403.html { return 403 "$uri $args"; }
--- error_code: 403
--- response_body chomp
/403.html a=b



=== TEST 27: the error page of an origin that is not allowed
--- location: error_page 403 /403.html;
--- outer
    location = /403.html { return 403 page; }
--- more_headers
Origin: https://b.example.com
--- error_code: 403
--- response_headers
!Access-Control-Allow-Origin
Vary: Origin
--- response_body chomp
page
--- endpoint_calls: 0



=== TEST 28: the same error page, of another location
--- outer
    error_page  403 /403.html;
    location = /403.html { return 403 page; }
    location = /other { deny all; }
--- request
GET /other
--- error_code: 403
--- response_headers
!Access-Control-Allow-Origin
!Vary
--- response_body chomp
page



=== TEST 29: a rewrite out of the location takes nothing along
--- location: rewrite ^ /other last;
--- outer
    location = /other { return 200 other; }
--- response_headers
!Access-Control-Allow-Origin
!Vary
--- response_body chomp
other



=== TEST 30: an add_header of one's own is replaced, browsers refuse two
--- location
    add_header  Access-Control-Allow-Origin * always;
    add_header  access-control-allow-credentials true always;
--- raw_response_headers_like chomp
Access-Control-Allow-Origin: https://a\.example\.com\r\n
--- raw_response_headers_unlike chomp
Access-Control-Allow-Origin: \*|(?i)allow-credentials



=== TEST 31: an add_header does not let in who is not allowed
--- location: add_header Access-Control-Allow-Origin * always;
--- more_headers
Origin: https://b.example.com
--- error_code: 403
--- response_headers
!Access-Control-Allow-Origin
Vary: Origin



=== TEST 32: where CORS is off, an add_header of one's own stays
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        add_header            Access-Control-Allow-Origin https://own.test always;
    }
--- response_headers
Access-Control-Allow-Origin: https://own.test
!Vary
--- response_body eval: $::Token



=== TEST 33: a Vary of one's own
--- location: add_header Vary X-Client always;
--- response_headers
Vary: X-Client, Origin
--- response_body eval: $::Token



=== TEST 34: a Vary that names Origin already
--- location: add_header Vary "Accept, origin" always;
--- response_headers
Vary: Accept, origin
--- response_body eval: $::Token



=== TEST 35: a Vary for everything
--- location: add_header Vary * always;
--- response_headers
Vary: *
--- response_body eval: $::Token



=== TEST 36: a Vary of a longer name
--- location: add_header Vary X-Origin always;
--- response_headers
Vary: X-Origin, Origin



=== TEST 37: expires, and a compressed response
--- location
    expires          1h;
    gzip             on;
    gzip_types       application/json;
    gzip_vary        on;
    gzip_min_length  1;
--- headers
Accept-Encoding: gzip
--- raw_response_headers_like chomp
(?s)(?=.*Content-Encoding: gzip)(?=.*Vary: Origin\r\n)(?=.*Vary: Accept-Encoding\r\n).*Access-Control-Allow-Origin: https://a\.example\.com\r\n



=== TEST 38: credentials, on an error too
--- location
    token_proxy_cors_credentials  on;
    deny                          all;
--- error_code: 403
--- and_headers
Access-Control-Allow-Credentials: true



=== TEST 39: credentials are for those who are allowed
--- location: token_proxy_cors_credentials on;
--- more_headers
Origin: https://b.example.com
--- error_code: 403
--- response_headers
!Access-Control-Allow-Credentials
!Access-Control-Expose-Headers



=== TEST 40: CORS headers of the endpoint do not come through
--- endpoint
    location = /cors {
        add_header    Access-Control-Allow-Origin *;
        add_header    Access-Control-Expose-Headers X-Endpoint;
        default_type  application/json;
        return        200 '{"access_token":"the-access-token"}';
    }
--- path: cors
--- raw_response_headers_like chomp
Access-Control-Allow-Origin: https://a\.example\.com\r\n
--- raw_response_headers_unlike chomp
Allow-Origin: \*|X-Endpoint



=== TEST 41: the Origin does not reach the endpoint
--- path: echo
--- location: token_proxy_fields *;
--- response_body_like chomp
"origin":""



=== TEST 42: a subrequest of a page's has none
--- config
    location = /page {
        default_type  text/html;
        ssi           on;
        return        200 '<!--#include virtual="/token" -->';
    }
    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cors_origin  https://a.example.com;
    }
--- request
GET /page
--- response_headers
!Access-Control-Allow-Origin
!Vary
