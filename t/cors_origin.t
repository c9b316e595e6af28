# Which pages may call: the Origin of a request against the list.

use lib 't/lib';
use Token tests => 332;

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';
our $Denied = '{"error":"access_denied",'
    . '"error_description":"This origin is not allowed."}';
our $Hundreds = join "\n", map {
    "token_proxy_cors_origin  https://app$_.example.com;"
} 1 .. 500;

add_block_preprocessor(sub {
    my ($block) = @_;
    my $cors = $block->cors // 'token_proxy_cors_origin https://a.example.com;';

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->raw_request;

    # origin: the request's, and denied or allowed: what becomes of it
    $block->set_value(more_headers => 'Origin: ' . $block->origin)
        if defined $block->origin;

    if (defined $block->denied) {
        $block->set_value(error_code => 403);
        $block->set_value(response_body => $Denied);
        $block->set_value(endpoint_calls => 0);
        $block->set_value(response_headers => <<'END');
!Access-Control-Allow-Origin
Vary: Origin
Content-Type: application/json
Cache-Control: no-store
END
    }

    if (defined $block->allowed) {
        $block->set_value(response_body => $Token);
        $block->set_value(endpoint_calls => 1);
        $block->set_value(response_headers => 'Access-Control-Allow-Origin: '
            . $block->origin . "\nVary: Origin\n");
    }

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $cors
        }
END
});

run_tests();

__DATA__

=== TEST 1: by default no CORS header, whoever asks
--- cors
--- origin: https://a.example.com
--- response_body eval: $::Token
--- response_headers
!Access-Control-Allow-Origin
!Vary



=== TEST 2: off at the location turns off what the server sets
--- config
    token_proxy_cors_origin  https://a.example.com;

    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cors_origin  off;
    }
--- origin: https://b.example.com
--- response_body eval: $::Token
--- response_headers
!Access-Control-Allow-Origin
!Vary



=== TEST 3: an allowed origin
--- origin: https://a.example.com
--- allowed



=== TEST 4: an origin that is not allowed never calls the endpoint
--- origin: https://b.example.com
--- denied



=== TEST 5: nor does its POST
--- request
POST /token
a=b
--- origin: https://b.example.com
--- denied



=== TEST 6: no Origin, as from curl or a page of the same origin
--- response_body eval: $::Token
--- response_headers
!Access-Control-Allow-Origin
Vary: Origin
--- endpoint_calls: 1



=== TEST 7: scheme and host are compared without case
--- origin: HTTPS://A.Example.COM
--- allowed



=== TEST 8: so are those of the configuration
--- cors: token_proxy_cors_origin HTTPS://A.Example.COM;
--- origin: https://a.example.com
--- allowed



=== TEST 9: the scheme's own port is none
--- origin: https://a.example.com:443
--- allowed



=== TEST 10: in the configuration too
--- cors: token_proxy_cors_origin http://a.example.com:80;
--- origin: http://a.example.com
--- allowed



=== TEST 11: port 443 belongs to https
--- cors: token_proxy_cors_origin http://a.example.com;
--- origin: http://a.example.com:443
--- denied



=== TEST 12: another port is another origin
--- origin: https://a.example.com:8443
--- denied



=== TEST 13: an origin with a port
--- cors: token_proxy_cors_origin http://localhost:3000;
--- origin: http://localhost:3000
--- allowed



=== TEST 14: another scheme is another origin
--- origin: http://a.example.com
--- denied



=== TEST 15: a host that begins so
--- origin: https://a.example.com.evil.test
--- denied



=== TEST 16: a host that ends so
--- origin: https://evila.example.com
--- denied



=== TEST 17: a trailing slash
--- origin: https://a.example.com/
--- denied



=== TEST 18: a user name in front of the host
--- origin: https://a.example.com@evil.test
--- denied



=== TEST 19: an empty Origin
--- raw_request eval
"GET /token HTTP/1.1\r\nHost: localhost\r\nOrigin:\r\nConnection: close\r\n\r\n"
--- denied



=== TEST 20: two Origin headers, both allowed
--- more_headers
Origin: https://a.example.com
Origin: https://a.example.com
--- denied



=== TEST 21: two origins in one header
--- origin: https://a.example.com, https://a.example.com
--- denied



=== TEST 22: two origins in one header, by a space
--- origin: https://a.example.com https://b.example.com
--- denied



=== TEST 23: null is not allowed unasked
--- origin: null
--- denied



=== TEST 24: null where it is listed
--- cors: token_proxy_cors_origin https://a.example.com null;
--- origin: null
--- allowed



=== TEST 25: a page of Android's file://
--- cors: token_proxy_cors_origin file://;
--- origin: file://
--- allowed



=== TEST 26: an app's scheme
--- cors: token_proxy_cors_origin capacitor://localhost;
--- origin: capacitor://localhost
--- allowed



=== TEST 27: an IPv6 address
--- cors: token_proxy_cors_origin http://[::1]:3000;
--- origin: http://[::1]:3000
--- allowed



=== TEST 28: a regular expression
--- cors: token_proxy_cors_origin '~^https://[a-z0-9-]+\.example\.com$';
--- origin: https://pr-17.example.com
--- allowed



=== TEST 29: that does not match
--- cors: token_proxy_cors_origin '~^https://[a-z0-9-]+\.example\.com$';
--- origin: https://pr-17.example.com.evil.test
--- denied



=== TEST 30: a regular expression sees small letters, and no port of the scheme
--- cors: token_proxy_cors_origin '~^https://[a-z]+\.example\.com$';
--- origin: HTTPS://APP.EXAMPLE.COM:443
--- allowed



=== TEST 31: a regular expression with capitals, without regard to case
--- cors: token_proxy_cors_origin '~*^https://APP\.example\.com$';
--- origin: https://app.example.com
--- allowed



=== TEST 32: and with regard to it
--- cors: token_proxy_cors_origin '~^https://APP\.example\.com$';
--- origin: https://app.example.com
--- denied



=== TEST 33: a regular expression does not see what is no origin
--- cors: token_proxy_cors_origin '~^https://a\.example\.com.*$';
--- origin: https://a.example.com/evil
--- denied



=== TEST 34: exact origins and regular expressions mixed
--- cors: token_proxy_cors_origin https://a.example.com '~^https://b[0-9]\.example\.com$' null;
--- origin: https://b7.example.com
--- allowed



=== TEST 35: the first of five hundred origins
--- cors eval: $::Hundreds
--- origin: https://app1.example.com
--- allowed



=== TEST 36: the last of them
--- cors eval: $::Hundreds
--- origin: https://app500.example.com
--- allowed



=== TEST 37: and one that is not among them
--- cors eval: $::Hundreds
--- origin: https://app501.example.com
--- denied



=== TEST 38: any origin: a star, the answer is the same for all
--- cors: token_proxy_cors_origin *;
--- origin: https://whoever.test
--- response_headers
Access-Control-Allow-Origin: *
!Vary
!Access-Control-Allow-Credentials
--- response_body eval: $::Token



=== TEST 39: also where there is no Origin, a cache may have to keep it
--- cors: token_proxy_cors_origin *;
--- response_headers
Access-Control-Allow-Origin: *
!Vary
--- response_body eval: $::Token



=== TEST 40: an empty Origin is not allowed even then
--- cors: token_proxy_cors_origin *;
--- raw_request eval
"GET /token HTTP/1.1\r\nHost: localhost\r\nOrigin: \r\nConnection: close\r\n\r\n"
--- error_code: 403
--- response_body eval: $::Denied
--- endpoint_calls: 0



=== TEST 41: nor are two
--- cors: token_proxy_cors_origin *;
--- more_headers
Origin: https://a.example.com
Origin: https://b.example.com
--- error_code: 403
--- response_headers
!Access-Control-Allow-Origin
--- endpoint_calls: 0



=== TEST 42: the location's own origin is always allowed
--- more_headers
Host: token.example.com
Origin: http://token.example.com
--- response_headers
Access-Control-Allow-Origin: http://token.example.com
--- response_body eval: $::Token



=== TEST 43: with its port
--- more_headers
Host: token.example.com:8080
Origin: http://token.example.com:8080
--- response_body eval: $::Token



=== TEST 44: but not with another
--- more_headers
Host: token.example.com:8080
Origin: http://token.example.com:8081
--- error_code: 403
--- endpoint_calls: 0



=== TEST 45: nor with another scheme
--- more_headers
Host: token.example.com
Origin: https://token.example.com
--- error_code: 403
--- endpoint_calls: 0



=== TEST 46: behind a proxy that ends TLS, with the variable that says so
--- cors
token_proxy_cors_origin  https://a.example.com;
token_proxy_cors_self    $http_x_forwarded_proto://$host;
--- more_headers
Host: token.example.com
X-Forwarded-Proto: https
Origin: https://token.example.com
--- response_headers
Access-Control-Allow-Origin: https://token.example.com
--- response_body eval: $::Token



=== TEST 47: then the request's own scheme counts no more
--- cors
token_proxy_cors_origin  https://a.example.com;
token_proxy_cors_self    $http_x_forwarded_proto://$host;
--- more_headers
Host: token.example.com
X-Forwarded-Proto: https
Origin: http://token.example.com
--- error_code: 403
--- endpoint_calls: 0



=== TEST 48: a variable that is empty makes no origin
--- cors
token_proxy_cors_origin  https://a.example.com;
token_proxy_cors_self    $http_x_forwarded_proto://$host;
--- more_headers
Host: token.example.com
Origin: http://token.example.com
--- error_code: 403
--- endpoint_calls: 0



=== TEST 49: a list of the server's is the location's
--- config
    token_proxy_cors_origin  https://a.example.com;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- origin: https://a.example.com
--- allowed



=== TEST 50: a list of the location's own takes its place
--- config
    token_proxy_cors_origin  https://a.example.com;

    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cors_origin  https://b.example.com;
    }
--- origin: https://a.example.com
--- denied



=== TEST 51: several lines are one list
--- cors
token_proxy_cors_origin  https://a.example.com;
token_proxy_cors_origin  https://b.example.com https://c.example.com;
--- origin: https://a.example.com
--- allowed



=== TEST 52: a location without a token has no CORS headers of the module's
--- config
    token_proxy_cors_origin  https://a.example.com;

    location = /token {
        return  200 ok;
    }
--- origin: https://b.example.com
--- response_headers
!Access-Control-Allow-Origin
!Vary
--- response_body chomp
ok



=== TEST 53: the log tells which origin was refused
--- origin: https://b.example.com
--- denied
--- error_log
origin "https://b.example.com" is not allowed
