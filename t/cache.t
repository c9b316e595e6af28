# The token cache: what a caller gets, and $token_proxy_cache_status.

use lib 't/lib';
use Token tests => 203;

# A zone, and what the answers tell the test.
our $Zone = <<'END';
    token_proxy_cache_zone  zone=tokens:1m;
    add_header  X-Cache    $token_proxy_cache_status always;
    add_header  X-Expires  $token_proxy_expires_in always;
    add_header  X-Status   $token_proxy_upstream_status always;
    add_header  X-Time     $token_proxy_upstream_time always;
    log_format  cache      "$token_proxy_cache_status $token_proxy_expires_in "
                           "$token_proxy_upstream_status "
                           "$token_proxy_upstream_time";
    access_log  logs/cache.log cache;
END

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value(http_config => $::Zone . ($block->http_config // ''));
    $block->set_value(request => 'GET /token')
        unless $block->request || $block->pipelined_requests;

    # in the location of /ok, or of what the block names
    my $path = $block->path // 'ok';
    my $more = $block->lines // '';

    $more .= "\n            token_proxy_cache tokens;"
        unless $more =~ /token_proxy_cache /;

    $block->set_value(config => <<"END" . ($block->config // ''));
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/$path;
            $more
        }
END
});

run_tests();

__DATA__

=== TEST 1: the first caller of all
--- response_body eval: $::Token
--- response_headers
Content-Type: application/json
Content-Length: 71
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
X-Cache: MISS
X-Expires: 3600
X-Status: 200
--- response_headers_like
X-Time: 0\.\d\d\d
--- endpoint_calls: 1



=== TEST 2: a hit is the same answer, and tells of no call
--- request eval: ['GET /token', 'GET /token', 'GET /token']
--- response_body eval: [$::Token, $::Token, $::Token]
--- response_headers eval
["X-Cache: MISS\nX-Status: 200",
"X-Cache: HIT\n!X-Status\n!X-Time
Content-Type: application/json\nContent-Length: 71
Cache-Control: no-store\nPragma: no-cache\nX-Content-Type-Options: nosniff",
"X-Cache: HIT"]
--- endpoint_calls: 1



=== TEST 3: hits on one connection
--- pipelined_requests eval: ['GET /token', 'GET /token', 'GET /token']
--- response_body eval: [$::Token, $::Token, $::Token]
--- endpoint_calls: 1



=== TEST 4: HEAD fetches a token, and gets no body
--- request eval: ['HEAD /token', 'GET /token', 'HEAD /token']
--- response_body eval: ['', $::Token, '']
--- response_headers eval
["X-Cache: MISS\nContent-Length: 71", 'X-Cache: HIT',
"X-Cache: HIT\nContent-Length: 71"]
--- endpoint_calls: 1



=== TEST 5: POST is served as GET is, and its body read
--- request eval
["POST /token\nscope=mine", "POST /token\nscope=mine", 'GET /token']
--- response_body eval: [$::Token, $::Token, $::Token]
--- response_headers eval
['X-Cache: MISS', 'X-Cache: HIT', 'X-Cache: HIT']
--- endpoint_calls: 1



=== TEST 6: arguments and headers of the caller make no difference
--- request eval: ['GET /token', 'GET /token?scope=x', "GET /token?a"]
--- more_headers eval
["", "Authorization: Basic Ynk6Ynk=\nCookie: a=b", "Cache-Control: no-cache"]
--- response_headers eval
['X-Cache: MISS', 'X-Cache: HIT', 'X-Cache: HIT']
--- endpoint_calls: 1



=== TEST 7: no cache: BYPASS, and a call for each caller
--- lines: token_proxy_cache off;
--- request eval: ['GET /token', 'GET /token']
--- response_body eval: [$::Token, $::Token]
--- response_headers eval
["X-Cache: BYPASS\nX-Expires: 3600\nX-Status: 200",
"X-Cache: BYPASS\nX-Expires: 3600\nX-Status: 200"]
--- endpoint_calls: 2



=== TEST 8: "off" in a location under a cache of the server
--- config
    token_proxy_cache tokens;
    location = /off {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cache     off;
    }
    location = /inherited {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- request eval: ['GET /off', 'GET /inherited', 'GET /inherited', 'GET /off']
--- response_headers eval
['X-Cache: BYPASS', 'X-Cache: MISS', 'X-Cache: HIT', 'X-Cache: BYPASS']
--- endpoint_calls: 3



=== TEST 9: a failure is an ERROR, and the next caller gets it from the backoff
--- path: 401
--- request eval: ['GET /token', 'GET /token']
--- error_code eval: [502, 503]
--- response_headers eval
["X-Cache: ERROR\nX-Status: 401\n!X-Expires",
"X-Cache: ERROR\n!X-Status\n!X-Expires"]
--- endpoint_calls: 1



=== TEST 10: an error without a call of the endpoint
--- path: ok
--- lines
            token_proxy_client_id      $arg_id;
            token_proxy_client_secret  my-secret;
--- error_code: 500
--- response_headers
X-Cache: ERROR



=== TEST 11: not a token request, no status
--- request: DELETE /token
--- error_code: 405
--- response_headers
!X-Cache
--- endpoint_calls: 0



=== TEST 12: an expired token is fetched again
--- endpoint
    location = /short {
        default_type  application/json;
        return 200 '{"access_token":"the-access-token","expires_in":1}';
    }
--- path: short
--- config
    location = /pause {
        auth_basic            pause;
        auth_basic_user_file  /dev/null;
        auth_delay            1200ms;
    }
--- request eval: ['GET /token', 'GET /pause', 'GET /token']
--- error_code eval: [200, 401, 200]
--- response_headers eval
["X-Cache: MISS\nX-Expires: 1", '!X-Cache', "X-Cache: EXPIRED\nX-Expires: 1"]
--- endpoint_calls: 2



=== TEST 13: "expires_in" of a hit is what is left
--- endpoint
    location = /short {
        default_type  application/json;
        return 200 '{"token_type":"Bearer","expires_in":"10","access_token":"the-access-token"}';
    }
--- path: short
--- lines: token_proxy_fields access_token expires_in token_type;
--- config
    location = /pause {
        auth_basic            pause;
        auth_basic_user_file  /dev/null;
        auth_delay            1050ms;
    }
--- request eval: ['GET /token', 'GET /token', 'GET /pause', 'GET /token']
--- error_code eval: [200, 200, 401, 200]
--- response_body_like eval
['^\{"access_token":"the-access-token","expires_in":"10","token_type":"Bearer"\}$',
'^\{"access_token":"the-access-token","expires_in":[5-9],"token_type":"Bearer"\}$',
'401',
'^\{"access_token":"the-access-token","expires_in":[1-8],"token_type":"Bearer"\}$']
--- raw_response_headers_like eval
['X-Expires: 10', 'X-Expires: [5-9]\r', '401', 'X-Expires: [1-8]\r']
--- endpoint_calls: 1



=== TEST 14: one token for locations with other fields, in another order
--- path: echo
--- lines: token_proxy_fields access_token expires_in scope;
--- config
    token_proxy_cache     tokens;
    location = /turned {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    scope expires_in access_token;
    }
    location = /one {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    expires_in;
    }
    location = /missing {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    id_token refresh_token;
    }
    location = /all {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- request eval
['GET /token', 'GET /turned', 'GET /one', 'GET /missing', 'GET /all']
--- response_body_like eval
['^\{"access_token":"the-access-token","expires_in":3600,"scope":"x"\}$',
'^\{"scope":"x","expires_in":(3600|359\d),"access_token":"the-access-token"\}$',
'^\{"expires_in":(3600|359\d)\}$',
'^\{"refresh_token":"the-refresh-token"\}$',
'^\{"access_token":"the-access-token","refresh_token":"the-refresh-token","expires_in":(3600|359\d),"token_type":"Bearer","scope":"x","method":"POST"[^\n]+"body":"grant_type=client_credentials"\}$']
--- response_headers eval
['X-Cache: MISS', 'X-Cache: HIT', 'X-Cache: HIT', 'X-Cache: HIT',
'X-Cache: HIT']
--- endpoint_calls: 1



=== TEST 15: fetched for "*", served to one with fields
--- path: echo
--- lines: token_proxy_fields *;
--- config
    location = /fields {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_cache     tokens;
    }
--- request eval: ['GET /token', 'GET /fields', 'GET /token']
--- response_body_like eval
['"scope":"x".*"method":"POST"',
'^\{"access_token":"the-access-token","refresh_token":"the-refresh-token"\}$',
'^\{"access_token":"the-access-token","refresh_token":"the-refresh-token","expires_in":(3600|359\d),"token_type":"Bearer","scope":"x","method":"POST"']
--- endpoint_calls: 1



=== TEST 16: names that were sent with escapes, in every location
--- endpoint
    location = /escapes {
        default_type  application/json;
        return 200 '{"acces\u0073_token":"the-access-token","expires\u005fin":60,"a\\"b":1}';
    }
--- path: escapes
--- lines: token_proxy_fields access_token;
--- config
    token_proxy_cache     tokens;
    location = /other {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/escapes;
        token_proxy_fields    expires_in access_token;
    }
    location = /all {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/escapes;
        token_proxy_fields    *;
    }
--- request eval: ['GET /token', 'GET /token', 'GET /other', 'GET /all']
--- response_body_like eval
['^\{"access_token":"the-access-token"\}$',
'^\{"access_token":"the-access-token"\}$',
'^\{"expires_in":(5\d|60),"access_token":"the-access-token"\}$',
'^\{"access_token":"the-access-token","expires_in":(59|60),"a\\\\"b":1\}$']
--- endpoint_calls: 1



=== TEST 17: the variables in a log
--- config
    location = /log {
        alias  $TEST_NGINX_SERVROOT/logs/cache.log;
        access_log  off;
    }
--- request eval: ['GET /token', 'GET /token', 'GET /log']
--- response_body_like eval
['token', 'token', '^MISS 3600 200 0\.\d\d\d\nHIT (3600|359\d) - -\n$']



=== TEST 18: add_header and "expires" make no hit cacheable
--- lines
            expires     1h;
            add_header  Cache-Control public;
            add_header  X-Own yes;
--- request eval: ['GET /token', 'GET /token']
--- response_headers eval
["Cache-Control: no-store\n!Expires\nX-Own: yes",
"Cache-Control: no-store\n!Expires\nX-Own: yes"]
--- endpoint_calls: 1



=== TEST 19: a hit has no validators, and no ranges
--- request eval: ['GET /token', 'GET /token']
--- more_headers eval: ['', "Range: bytes=0-1\nIf-None-Match: *"]
--- response_headers eval: ['X-Cache: MISS', "X-Cache: HIT\n!ETag\n!Accept-Ranges"]
--- error_code eval: [200, 200]
--- response_body eval: [$::Token, $::Token]



=== TEST 20: a subrequest for a token is served from the cache
--- config
    location = /empty {
        auth_request  /token;
        empty_gif;
    }
--- request eval: ['GET /empty', 'GET /empty', 'GET /token']
--- error_code eval: [200, 200, 200]
--- response_headers eval: ['!X-Cache', '!X-Cache', 'X-Cache: HIT']
--- endpoint_calls: 1
