# Directives of the cache that are wrong: nginx does not start, and says where
# and why.

use lib 't/lib';
use Token tests => 176;

add_block_preprocessor(sub {
    my ($block) = @_;
    my $http = $block->http_config // '';

    $block->set_value(must_die => '') unless $block->request;

    # lines: in a token location with a cache
    if (defined(my $lines = $block->lines)) {
        $block->set_value(http_config =>
            "    token_proxy_cache_zone  zone=tokens:1m;\n$http");
        $block->set_value(config => <<"END");
            location = /token {
                token_proxy           on;
                token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
                token_proxy_cache     tokens;
                $lines
            }
END
    }

    $block->set_value(config => '') unless defined $block->config;
});

run_tests();

__DATA__

=== TEST 1: a zone without a size
--- http_config
    token_proxy_cache_zone  zone=tokens;
--- error_log eval
qr/invalid parameter "zone=tokens" in "token_proxy_cache_zone", it takes zone=name:size in .*nginx\.conf:\d+/



=== TEST 2: a zone without a name
--- http_config
    token_proxy_cache_zone  zone=:1m;
--- error_log eval
qr/invalid parameter "zone=:1m" in "token_proxy_cache_zone".* in .*nginx\.conf:\d+/



=== TEST 3: a zone's size that is none
--- http_config
    token_proxy_cache_zone  zone=tokens:much;
--- error_log eval
qr/invalid parameter "zone=tokens:much" in "token_proxy_cache_zone".* in .*nginx\.conf:\d+/



=== TEST 4: a zone's size that is too large for a number
--- http_config
    token_proxy_cache_zone  zone=tokens:99999999999999999999m;
--- error_log eval
qr/invalid parameter "zone=tokens:9+m" in "token_proxy_cache_zone".* in .*nginx\.conf:\d+/



=== TEST 5: a zone's size that is negative
--- http_config
    token_proxy_cache_zone  zone=tokens:-1m;
--- error_log eval
qr/invalid parameter "zone=tokens:-1m" in "token_proxy_cache_zone".* in .*nginx\.conf:\d+/



=== TEST 6: something else than a zone
--- http_config
    token_proxy_cache_zone  tokens:1m;
--- error_log eval
qr/invalid parameter "tokens:1m" in "token_proxy_cache_zone", it takes zone=name:size in .*nginx\.conf:\d+/



=== TEST 7: a zone that is too small: the minimum is named
--- http_config
    token_proxy_cache_zone  zone=tokens:8k;
--- error_log eval
qr/zone "tokens" of "token_proxy_cache_zone" is too small, the minimum is 32k in .*nginx\.conf:\d+/



=== TEST 8: the minimum itself is enough for a token
--- http_config
    token_proxy_cache_zone  zone=tokens:32k;
--- config
    token_proxy_cache  tokens;
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        add_header            X-Cache $token_proxy_cache_status;
    }
--- request eval: ['GET /token', 'GET /token']
--- response_headers eval: ['X-Cache: MISS', 'X-Cache: HIT']
--- endpoint_calls: 1



=== TEST 9: a zone that is there twice
--- http_config
    token_proxy_cache_zone  zone=tokens:1m;
    token_proxy_cache_zone  zone=tokens:1m;
--- error_log eval
qr/duplicate zone "tokens" in "token_proxy_cache_zone" in .*nginx\.conf:\d+/



=== TEST 10: a zone that is there twice, with two sizes
--- http_config
    token_proxy_cache_zone  zone=tokens:1m;
    token_proxy_cache_zone  zone=tokens:2m;
--- error_log eval
qr/the size 2097152 of shared memory zone "tokens" conflicts with already declared size 1048576 in .*nginx\.conf:\d+/



=== TEST 11: two zones
--- http_config
    token_proxy_cache_zone  zone=tokens:1m;
    token_proxy_cache_zone  zone=others:1m;
--- config
    add_header  X-Cache $token_proxy_cache_status;
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cache     tokens;
    }
    location = /other {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cache     others;
    }
--- request eval: ['GET /token', 'GET /other', 'GET /token', 'GET /other']
--- response_headers eval
['X-Cache: MISS', 'X-Cache: MISS', 'X-Cache: HIT', 'X-Cache: HIT']
--- endpoint_calls: 2



=== TEST 12: a zone of another module
--- http_config
    limit_req_zone  $uri zone=limits:1m rate=1r/s;
--- config
    token_proxy_cache  limits;
--- error_log eval
qr/the shared memory zone "limits" is already declared for a different use in .*nginx\.conf:\d+/



=== TEST 13: an unknown zone in a location
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        include               ../html/cache.conf;
    }
--- user_files
>>> cache.conf

token_proxy_cache  nothing;
--- error_log eval
qr/zone "nothing" of "token_proxy_cache" is unknown in .*cache\.conf:2\b/



=== TEST 14: an unknown zone at http level
--- http_config
    include  ../html/cache.conf;
--- user_files
>>> cache.conf


token_proxy_cache  nothing;
--- error_log eval
qr/zone "nothing" of "token_proxy_cache" is unknown in .*cache\.conf:3\b/



=== TEST 15: a zone that comes after its use
--- http_config
    token_proxy_cache       tokens;
    token_proxy_cache_zone  zone=tokens:1m;
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        add_header            X-Cache $token_proxy_cache_status;
    }
--- request eval: ['GET /token', 'GET /token']
--- response_headers eval: ['X-Cache: MISS', 'X-Cache: HIT']



=== TEST 16: a zone in a server
--- config
    token_proxy_cache_zone  zone=tokens:1m;
--- error_log eval
qr/"token_proxy_cache_zone" directive is not allowed here in .*nginx\.conf:\d+/



=== TEST 17: two caches
--- lines: token_proxy_cache tokens;
--- error_log eval
qr/"token_proxy_cache" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 18: a cache, and none
--- lines: token_proxy_cache off;
--- error_log eval
qr/"token_proxy_cache" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 19: a cache without a name
--- config
    token_proxy_cache  "";
--- error_log eval
qr/"token_proxy_cache".* in .*nginx\.conf:\d+/



=== TEST 20: two keys
--- lines: token_proxy_cache_key $uri; token_proxy_cache_key a;
--- error_log eval
qr/"token_proxy_cache_key" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 21: a key with an unknown variable
--- lines: token_proxy_cache_key $no_such_variable;
--- error_log
the value of "token_proxy_cache_key" has a "$" before a name that is no variable's



=== TEST 22: a lifetime that is none
--- lines: token_proxy_cache_default_ttl soon;
--- error_log eval
qr/"token_proxy_cache_default_ttl" directive invalid value in .*nginx\.conf:\d+/



=== TEST 23: two lifetimes
--- lines: token_proxy_cache_default_ttl 1s; token_proxy_cache_default_ttl 2s;
--- error_log eval
qr/"token_proxy_cache_default_ttl" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 24: more than all of the lifetime
--- lines: token_proxy_refresh_before 101%;
--- error_log eval
qr/"token_proxy_refresh_before" directive takes a time, or a percentage up to 100% in .*nginx\.conf:\d+/



=== TEST 25: a negative percentage
--- lines: token_proxy_refresh_before -1%;
--- error_log eval
qr/"token_proxy_refresh_before" directive takes a time, or a percentage up to 100% in .*nginx\.conf:\d+/



=== TEST 26: a percentage of nothing
--- lines: token_proxy_refresh_before %;
--- error_log eval
qr/"token_proxy_refresh_before" directive takes a time, or a percentage up to 100% in .*nginx\.conf:\d+/



=== TEST 27: neither a time nor a percentage
--- lines: token_proxy_refresh_before half;
--- error_log eval
qr/"token_proxy_refresh_before" directive takes a time, or a percentage up to 100% in .*nginx\.conf:\d+/



=== TEST 28: two times to refresh
--- lines: token_proxy_refresh_before 1s; token_proxy_refresh_before 10%;
--- error_log eval
qr/"token_proxy_refresh_before" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 29: two times to refresh, the first is zero
--- lines: token_proxy_refresh_before 0; token_proxy_refresh_before 10%;
--- error_log eval
qr/"token_proxy_refresh_before" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 30: a timeout that is none
--- lines: token_proxy_lock_timeout never;
--- error_log eval
qr/"token_proxy_lock_timeout" directive invalid value in .*nginx\.conf:\d+/



=== TEST 31: two timeouts
--- lines: token_proxy_lock_timeout 1s; token_proxy_lock_timeout 1s;
--- error_log eval
qr/"token_proxy_lock_timeout" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 32: no timeout
--- lines: token_proxy_lock_timeout 0;
--- error_log eval
qr/"token_proxy_lock_timeout" directive takes a time that is not zero in .*nginx\.conf:\d+/



=== TEST 33: a backoff without a maximum
--- lines: token_proxy_retry_backoff 1s;
--- error_log eval
qr/invalid number of arguments in "token_proxy_retry_backoff" directive in .*nginx\.conf:\d+/



=== TEST 34: a backoff whose minimum is longer than its maximum
--- lines: token_proxy_retry_backoff 2s 1s;
--- error_log eval
qr/"token_proxy_retry_backoff" directive takes two times, the first one not longer, and not zero in .*nginx\.conf:\d+/



=== TEST 35: no backoff
--- lines: token_proxy_retry_backoff 0 1s;
--- error_log eval
qr/"token_proxy_retry_backoff" directive takes two times, the first one not longer, and not zero in .*nginx\.conf:\d+/



=== TEST 36: a backoff that is none
--- lines: token_proxy_retry_backoff now later;
--- error_log eval
qr/"token_proxy_retry_backoff" directive takes two times, the first one not longer, and not zero in .*nginx\.conf:\d+/



=== TEST 37: two backoffs
--- lines: token_proxy_retry_backoff 1s 2s; token_proxy_retry_backoff 1s 2s;
--- error_log eval
qr/"token_proxy_retry_backoff" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 38: what is right, at every level
--- http_config
    token_proxy_cache_zone         zone=tokens:64k;
    token_proxy_cache              tokens;
    token_proxy_cache_key          a;
    token_proxy_cache_default_ttl  1h;
    token_proxy_refresh_before     10m;
    token_proxy_lock_timeout       500ms;
    token_proxy_retry_backoff      100ms 1m;
--- config
    token_proxy_cache              tokens;
    token_proxy_cache_key          $uri;
    token_proxy_cache_default_ttl  0;
    token_proxy_refresh_before     100%;
    token_proxy_lock_timeout       1s;
    token_proxy_retry_backoff      1s 1s;
    location = /token {
        token_proxy                    on;
        token_proxy_endpoint           $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cache              tokens;
        token_proxy_cache_key          "$uri$host";
        token_proxy_cache_default_ttl  1d;
        token_proxy_refresh_before     0;
        token_proxy_lock_timeout       1m;
        token_proxy_retry_backoff      1s 1h;
    }
--- request: GET /token
--- response_body_like: the-access-token



=== TEST 39: a maximum of nothing
--- lines: token_proxy_cache_max_ttl 0;
--- error_log eval
qr/"token_proxy_cache_max_ttl" directive takes a time that is not zero in .*nginx\.conf:\d+/



=== TEST 40: a maximum that is no time
--- lines: token_proxy_cache_max_ttl soon;
--- error_log eval
qr/"token_proxy_cache_max_ttl" directive invalid value in .*nginx\.conf:\d+/



=== TEST 41: two maxima
--- lines: token_proxy_cache_max_ttl 1s; token_proxy_cache_max_ttl 2s;
--- error_log eval
qr/"token_proxy_cache_max_ttl" directive is duplicate in .*nginx\.conf:\d+/



=== TEST 42: a zone that is too large: the maximum is named
--- http_config
    token_proxy_cache_zone  zone=tokens:32769m;
--- error_log eval
qr/zone "tokens" of "token_proxy_cache_zone" is too large, the maximum is 32768m in .*nginx\.conf:\d+/
