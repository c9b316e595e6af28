# The answer that a caller gets when the endpoint gives a token.

use lib 't/lib';
use Token tests => 195;

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->raw_request
            || $block->pipelined_requests;

    # answers: what the endpoint answers with, and the caller's subset of it
    if (defined(my $answers = $block->answers)) {
        my $fields = defined $block->fields
            ? 'token_proxy_fields ' . $block->fields . ';' : '';

        $block->set_value(tcp_listen => '$TEST_NGINX_RAND_PORT_1');
        $block->set_value(tcp_reply => "HTTP/1.1 200 OK\r\n"
            . ($block->headers // '') . "Content-Length: " . length($answers)
            . "\r\nConnection: close\r\n\r\n$answers");
        $block->set_value(config => <<"END");
            location = /token {
                token_proxy           on;
                token_proxy_endpoint  http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1/;
                $fields
            }
END
    }

    # without a section of its own, in the location of /ok
    $block->set_value(config => <<'END' . ($block->outer // ''))
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
        }
END
        unless defined $block->config;
});

run_tests();

__DATA__

=== TEST 1: a token, and the headers that belong to it
--- response_body eval: $::Token
--- response_headers
Content-Type: application/json
Content-Length: 71
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
!ETag
!Last-Modified
!Expires
!Transfer-Encoding
!Accept-Ranges



=== TEST 2: members in the order of token_proxy_fields, not of the endpoint
--- answers chomp
{"scope":"x","expires_in":60,"refresh_token":"r","token_type":"Bearer","access_token":"a"}
--- response_body chomp
{"access_token":"a","refresh_token":"r"}



=== TEST 3: fields of one's own
--- answers chomp
{"scope":"x","expires_in":60,"refresh_token":"r","token_type":"Bearer","access_token":"a"}
--- fields: token_type expires_in access_token
--- response_body chomp
{"token_type":"Bearer","expires_in":60,"access_token":"a"}



=== TEST 4: fields without the access token
--- answers chomp
{"access_token":"a","expires_in":60}
--- fields: expires_in
--- response_body chomp
{"expires_in":60}



=== TEST 5: a field that the endpoint did not send is left out
--- answers chomp
{"access_token":"a"}
--- response_body chomp
{"access_token":"a"}



=== TEST 6: nothing is left of fields that the endpoint did not send
--- answers chomp
{"access_token":"a"}
--- fields: scope id_token
--- response_body chomp
{}



=== TEST 7: all members, in the endpoint's order, for "*"
--- answers chomp
{ "z" : [ 1, {"a" : null} ],
  "access_token"	: "a", "x":{ }, "":true ,"A":false
}
--- fields: *
--- response_body chomp
{"z":[ 1, {"a" : null} ],"access_token":"a","x":{ },"":true,"A":false}



=== TEST 8: strings keep their bytes: escapes
--- answers chomp
{"access_token":"a\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00","refresh_token":"\/"}
--- response_body chomp
{"access_token":"a\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00","refresh_token":"\/"}



=== TEST 9: strings keep their bytes: UTF-8
--- answers eval
"{\"access_token\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"}"
--- response_body eval
"{\"access_token\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"}"



=== TEST 10: numbers stay as they were sent
--- answers chomp
{"access_token":"a","expires_in":3.6000E+03,"scope":-0,"id_token":12345678901234567890.10}
--- fields: expires_in scope id_token
--- response_body chomp
{"expires_in":3.6000E+03,"scope":-0,"id_token":12345678901234567890.10}



=== TEST 11: values that are no strings are handed on as they are
--- answers chomp
{"access_token":"a","refresh_token":null,"scope":["a", "b"],"resource":{"a" : 1}}
--- fields: refresh_token scope resource
--- response_body chomp
{"refresh_token":null,"scope":["a", "b"],"resource":{"a" : 1}}



=== TEST 12: a name that is written with escapes is the same name
--- answers chomp
{"acces\u0073_token":"a","refresh_token":"r"}
--- response_body chomp
{"access_token":"a","refresh_token":"r"}



=== TEST 13: a name in another case is another name
--- answers chomp
{"Access_Token":"b","access_token":"a","REFRESH_TOKEN":"r"}
--- response_body chomp
{"access_token":"a"}



=== TEST 14: members of an inner object are not the token's
--- answers chomp
{"data":{"access_token":"inner","refresh_token":"inner"},"access_token":"a"}
--- response_body chomp
{"access_token":"a"}



=== TEST 15: of two members with one name the last counts
--- answers chomp
{"access_token":"first","refresh_token":"r","access_token":"last"}
--- response_body chomp
{"access_token":"last","refresh_token":"r"}



=== TEST 16: white space around the object
--- answers eval: " \r\n\t{ \"access_token\" : \"a\" } \r\n"
--- response_body chomp
{"access_token":"a"}



=== TEST 17: another content type of the endpoint does not matter
--- answers chomp
{"access_token":"a"}
--- headers eval: "Content-Type: text/html; charset=iso-8859-1\r\n"
--- response_body chomp
{"access_token":"a"}
--- response_headers
Content-Type: application/json



=== TEST 18: an answer in chunks
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
. "a\r\n{\"access_t\r\n9;x=y\r\noken\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n"
--- response_body chomp
{"access_token":"a"}
--- response_headers
Content-Length: 20
!Transfer-Encoding



=== TEST 19: an answer that ends with the connection
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval: "HTTP/1.0 200 OK\r\n\r\n{\"access_token\":\"a\"}"
--- response_body chomp
{"access_token":"a"}



=== TEST 20: an answer in many pieces
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
[split //, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"access_token\":\"a\"}"]
--- response_body chomp
{"access_token":"a"}



=== TEST 21: a token as large as token_proxy_max_response_size allows
--- answers eval: '{"access_token":"' . 'a' x (65536 - 19) . '"}'
--- response_body eval: '{"access_token":"' . 'a' x (65536 - 19) . '"}'



=== TEST 22: a larger token with a larger token_proxy_max_response_size
--- config
    location = /token {
        token_proxy                    on;
        token_proxy_endpoint           http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
        token_proxy_max_response_size  1m;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"" . 'a' x 500000 . '"}'
--- response_body eval: '{"access_token":"' . 'a' x 500000 . '"}'



=== TEST 23: a token in gzip for a caller who takes it
--- outer
    gzip             on;
    gzip_types       application/json;
    gzip_min_length  1;
    gzip_http_version 1.0;
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
Cache-Control: no-store
--- response_body_filters eval
sub {
    require IO::Uncompress::Gunzip;
    my $plain;
    IO::Uncompress::Gunzip::gunzip(\$_[0], \$plain);
    return $plain;
}
--- response_body eval: $::Token



=== TEST 24: keepalive, pipelining
--- pipelined_requests eval: ['GET /token', "POST /token\na=b", 'GET /token', 'GET /token']
--- response_body eval: [($::Token) x 4]
--- endpoint_calls: 4



=== TEST 25: keepalive: the connection goes on after an error
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/$arg_status;
    }
--- pipelined_requests eval
['GET /token?status=401', 'GET /token?status=503', 'GET /token?status=ok']
--- error_code eval: [502, 503, 200]
--- endpoint_calls: 3



=== TEST 26: HTTP/1.0
--- request
GET /token HTTP/1.0
--- response_headers
Content-Length: 71
Connection: close
--- response_body eval: $::Token



=== TEST 27: HTTP/0.9
--- raw_request eval: "GET /token\r\n"
--- http09
--- response_body eval: $::Token



=== TEST 28: a Range is ignored
--- more_headers
Range: bytes=0-3
--- response_headers
!Content-Range
!Accept-Ranges
--- response_body eval: $::Token



=== TEST 29: conditions are ignored
--- request eval: [('GET /token') x 4]
--- more_headers eval
['If-None-Match: *', 'If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT',
 'If-Match: "x"', 'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT']
--- response_body eval: [($::Token) x 4]



=== TEST 30: expires and add_header cannot make a token cacheable
--- outer
    expires     1h;
    add_header  Cache-Control  "public, max-age=3600" always;
    add_header  Pragma         public always;
    add_header  Expires        "Thu, 01 Jan 2037 00:00:00 GMT" always;
    add_header  X-Content-Type-Options  sniff always;
    add_header  X-Mine         mine;
--- response_headers
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
X-Mine: mine
!Expires



=== TEST 31: nor an error
--- config
    expires     epoch;
    add_header  Cache-Control  public always;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/500;
    }
--- error_code: 502
--- response_headers
Cache-Control: no-store
!Expires



=== TEST 32: in the location itself they cannot either
--- config
    location = /token {
        expires               max;
        add_header            Cache-Control public;
        add_header            Last-Modified "Thu, 01 Jan 1970 00:00:00 GMT";
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- response_headers
Cache-Control: no-store
!Expires



=== TEST 33: other locations keep their expires
--- config
    expires  1h;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }

    location = /page {
        return  200 page;
    }
--- request
GET /page
--- response_headers
Cache-Control: max-age=3600
!X-Content-Type-Options



=== TEST 34: no header of the endpoint's answer is handed on
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
CORE::join("\r\n", 'HTTP/1.1 200 OK', 'Content-Length: 20',
    'Access-Control-Allow-Origin: *', 'Access-Control-Expose-Headers: X',
    'Cache-Control: public, max-age=60', 'Content-Language: de',
    'ETag: "x"', 'Expires: Thu, 01 Jan 2037 00:00:00 GMT',
    'Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT', 'Link: <x>',
    'Location: /elsewhere', 'Refresh: 0', 'Server: endpoint',
    'Set-Cookie: session=1', 'Vary: Origin', 'WWW-Authenticate: Basic',
    'X-Accel-Redirect: /elsewhere', 'X-Accel-Buffering: no',
    'X-Accel-Expires: 60', 'X-Accel-Limit-Rate: 1', 'X-Accel-Charset: koi8-r',
    'X-Powered-By: endpoint', '', '{"access_token":"a"}')
--- response_body chomp
{"access_token":"a"}
--- raw_response_headers_unlike eval
qr/^(?!HTTP|Server: nginx|Date:|Content-Type: application\/json|Content-Length: 20|Connection: close|Cache-Control: no-store|Pragma: no-cache|X-Content-Type-Options: nosniff)/m



=== TEST 35: variables of an answer
--- config
    location = /token {
        add_header            X-Status    "$token_proxy_cache_status";
        add_header            X-Expires   "$token_proxy_expires_in";
        add_header            X-Upstream  "$token_proxy_upstream_status";
        add_header            X-Time      "$token_proxy_upstream_time";
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- response_headers_like
X-Status: BYPASS
X-Expires: 3600
X-Upstream: 200
X-Time: \d+\.\d\d\d



=== TEST 36: variables of an error
--- config
    location = /token {
        add_header            X-Status    "$token_proxy_cache_status" always;
        add_header            X-Expires   "[$token_proxy_expires_in]" always;
        add_header            X-Upstream  "$token_proxy_upstream_status" always;
        add_header            X-Time      "$token_proxy_upstream_time" always;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }
--- error_code: 502
--- response_headers_like
X-Status: ERROR
X-Expires: \[\]
X-Upstream: 401
X-Time: \d+\.\d\d\d



=== TEST 37: variables where no token was asked for
--- config
    location = /page {
        return  200 "[$token_proxy_cache_status$token_proxy_expires_in$token_proxy_upstream_status$token_proxy_upstream_time]";
    }
--- request
GET /page
--- response_body chomp
[]



=== TEST 38: the time of a slow endpoint
--- config
    location = /token {
        add_header            X-Time  "$token_proxy_upstream_time";
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/slow;
    }
--- response_headers_like
X-Time: [12]\.\d\d\d



=== TEST 39: the lifetime from a number, from a string, and none that is right
--- config
    location = /token {
        add_header            X-Expires  "$token_proxy_expires_in";
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/life?$arg_of;
    }
--- endpoint
    location = /life {
        default_type  application/json;
        return        200 '{"access_token":"a","expires_in":$args}';
    }
--- request eval
[map { "GET /token?of=$_" } qw(60 "60" 60.9 6e1 "6e1" 1e99 0 -60 "" "60s" "inf" "0x10" null true [60] 0.5)]
--- response_headers eval
[map { length $_ ? "X-Expires: $_" : '!X-Expires' } 60, 60, 60, 60, 60, 315360000, ('') x 9, 0]
