# What a caller gets, and what the log says, when the endpoint gives no token.

use lib 't/lib';
use Token tests => 845;

use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);

our $Unreachable = error('server_error', 'The token endpoint could not be reached.');
our $Incomplete = error('server_error', 'The token endpoint gave no complete answer.');
our $Invalid = error('server_error', 'The token endpoint gave an invalid answer.');
our $Refused = error('server_error', 'The token endpoint refused the request.');
our $Failed = error('server_error', 'The token endpoint failed.');
our $Busy = error('temporarily_unavailable', 'The token endpoint is busy, try again later.');
our $TooSlow = error('temporarily_unavailable', 'The token endpoint did not answer in time.');

# Sections of this file:
#
# --- answers   the body of the endpoint's answer
# --- status    its status line, after the version (200 OK)
# --- headers   more of its headers
# --- raw       the whole answer instead
# --- inside    more lines of the token location
#
# Whatever goes wrong, the caller gets JSON that nobody keeps.
add_block_preprocessor(sub {
    my ($block) = @_;
    my $inside = $block->inside // '';
    my $answers = $block->answers;
    my $raw = $block->raw;

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->pipelined_requests;

    if (defined $answers || defined $raw) {
        my $status = $block->status // '200 OK';
        my $headers = $block->headers
            // 'Content-Length: ' . length($answers // '') . "\n";

        chomp $status;
        $headers =~ s/\n/\r\n/g;
        $block->set_value(tcp_listen => '$TEST_NGINX_RAND_PORT_1');
        $block->set_value(tcp_reply => $raw
            // "HTTP/1.1 $status\r\n${headers}Connection: close\r\n\r\n$answers");
    }

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1/token;
            proxy_read_timeout    1s;
            $inside
        }
END

    if (!ref $block->error_code && ($block->error_code // 200) != 200
        && !defined $block->not_json)
    {
        my $headers = $block->response_headers // '';

        $block->set_value(response_headers => <<"END" . $headers);
Content-Type: application/json
Cache-Control: no-store
Pragma: no-cache
X-Content-Type-Options: nosniff
!Set-Cookie
!Transfer-Encoding
END
    }
});

sub error {
    my ($error, $description) = @_;

    return qq({"error":"$error","error_description":"$description"});
}

run_tests();

__DATA__

=== TEST 1: the endpoint does not listen
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
connect() failed (111: Connection refused) while connecting to upstream



=== TEST 2: the endpoint closes without a byte
--- raw eval: ''
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream prematurely closed connection while reading response header from upstream



=== TEST 3: the endpoint closes in the status line
--- raw eval: 'HTTP/1.1 20'
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream prematurely closed connection while reading response header



=== TEST 4: the endpoint closes in the headers
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Le"
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream prematurely closed connection while reading response header



=== TEST 5: the endpoint closes before the body
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
upstream prematurely closed connection while reading upstream



=== TEST 6: the endpoint closes in the body, even if what came is JSON
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"a\"}"
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
upstream prematurely closed connection while reading upstream



=== TEST 7: the endpoint closes between two chunks, even if what came is JSON
--- raw eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
. "14\r\n{\"access_token\":\"a\"}\r\n"
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
upstream prematurely closed connection while reading upstream



=== TEST 8: chunks that are wrong
--- raw eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
. "xx\r\n{\"access_token\":\"a\"}\r\n0\r\n\r\n"
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
upstream sent invalid chunked response



=== TEST 9: no HTTP at all is not handed on as a token
--- raw eval: "{\"access_token\":\"a\"}"
--- error_code: 502
--- error_log
upstream sent no valid HTTP/1.0 header



=== TEST 10: a header that is wrong
--- raw eval: "HTTP/1.1 200 OK\r\nContent-\0Length: 20\r\n\r\n{\"access_token\":\"a\"}"
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream sent invalid header



=== TEST 11: headers that are too large
--- raw eval: "HTTP/1.1 200 OK\r\nX: " . 'x' x 100000 . "\r\n\r\n{\"access_token\":\"a\"}"
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream sent too big header



=== TEST 12: two lengths
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nContent-Length: 21\r\n\r\n{\"access_token\":\"a\"}"
--- error_code: 502



=== TEST 13: the endpoint refuses the client: 401
--- status: 401 Unauthorized
--- headers
WWW-Authenticate: Basic realm="endpoint"
--- answers chomp
{"error":"invalid_client","error_description":"Client authentication failed"}
--- error_code: 502
--- response_headers
!WWW-Authenticate
--- response_body eval: $::Refused
--- error_log eval
qr/\[error\].*token endpoint "http:\S+" answered 401, error: invalid_client, description: Client authentication failed/



=== TEST 14: the endpoint refuses the request: 400
--- status: 400 Bad Request
--- answers chomp
{"error":"invalid_scope"}
--- error_code: 502
--- response_body eval: $::Refused
--- error_log eval
qr/\[error\].*token endpoint "http:\S+" answered 400, error: invalid_scope(?: while|,)/



=== TEST 15: any other 4xx
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/$arg_status;
    }
--- request eval: [map { "GET /token?status=$_" } 400, 401, 403, 404, 405, 413]
--- error_code eval: [(502) x 6]
--- response_headers eval: [("Content-Type: application/json\nCache-Control: no-store") x 6]
--- response_body eval: [($::Refused) x 6]



=== TEST 16: any 5xx
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/$arg_status;
    }
--- request eval: [map { "GET /token?status=$_" } 500, 501, 502, 504]
--- error_code eval: [(502) x 4]
--- response_headers eval: [("Content-Type: application/json\nCache-Control: no-store") x 4]
--- response_body eval: [($::Failed) x 4]



=== TEST 17: the text of an error page in HTML stays between the endpoint and the log
--- status: 500 Internal Server Error
--- answers chomp
<html>stack trace</html>
--- error_code: 502
--- response_body eval: $::Failed
--- error_log
answered 500, text: stack trace
--- no_error_log
<html>



=== TEST 18: 429 is 503, with the seconds of Retry-After
--- status: 429 Too Many Requests
--- headers
Retry-After: 17
--- answers chomp
{"error":"slow_down"}
--- error_code: 503
--- response_headers
Retry-After: 17
--- response_body eval: $::Busy
--- error_log
answered 429, error: slow_down



=== TEST 19: 503 is 503
--- status: 503 Service Unavailable
--- headers
retry-after: 17
--- answers eval: ''
--- error_code: 503
--- response_headers
Retry-After: 17
--- response_body eval: $::Busy



=== TEST 20: Retry-After as a date
--- status: 503 Service Unavailable
--- headers eval
POSIX::strftime("Retry-After: %a, %d %b %Y %H:%M:%S GMT\n", gmtime(time + 1000))
--- answers eval: ''
--- error_code: 503
--- raw_response_headers_like: Retry-After: (?:[1-9]\d\d|1000)\r\n



=== TEST 21: Retry-After in the past
--- status: 503 Service Unavailable
--- headers
Retry-After: Thu, 01 Jan 1998 00:00:00 GMT
--- answers eval: ''
--- error_code: 503
--- response_headers
Retry-After: 1



=== TEST 22: no Retry-After
--- status: 429 Too Many Requests
--- headers
X: y
--- answers eval: ''
--- error_code: 503
--- response_headers
Retry-After: 1



=== TEST 23: a Retry-After that is wrong
--- status: 429 Too Many Requests
--- headers eval: "Retry-After: soon\r\nX: y\n"
--- answers eval: ''
--- error_code: 503
--- response_headers
Retry-After: 1



=== TEST 24: a Retry-After that is negative, and one that is empty
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/busy?$arg_after;
    }
--- endpoint
    location = /busy {
        add_header  Retry-After  $args always;
        return      503;
    }
--- request eval: ['GET /token?after=-5', 'GET /token?after=', 'GET /token?after=99999999999999999999', 'GET /token?after=5']
--- error_code eval: [503, 503, 503, 503]
--- response_headers eval: ['Retry-After: 1', 'Retry-After: 1', 'Retry-After: 1', 'Retry-After: 5']



=== TEST 25: a Retry-After of days is an hour
--- status: 429 Too Many Requests
--- headers
Retry-After: 864000
--- answers eval: ''
--- error_code: 503
--- response_headers
Retry-After: 3600



=== TEST 26: the endpoint does not answer in time
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/hang;
        proxy_read_timeout    300ms;
    }
--- error_code: 504
--- response_headers
!Retry-After
--- response_body eval: $::TooSlow
--- error_log
upstream timed out (110: Connection timed out) while reading response header from upstream



=== TEST 27: the endpoint stops in the headers
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Le"
--- tcp_no_close
--- error_code: 504
--- response_body eval: $::TooSlow
--- error_log
upstream timed out



=== TEST 28: the endpoint stops in the body
--- raw eval: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"a\"}"
--- tcp_no_close
--- error_code: 504
--- response_body eval: $::TooSlow
--- error_log
upstream timed out



=== TEST 29: the endpoint does not take the connection
--- config
    location = /token {
        token_proxy            on;
        token_proxy_endpoint   http://127.0.0.1:$TEST_NGINX_RAND_PORT_3/;
        proxy_connect_timeout  300ms;
    }
--- init
use IO::Socket::INET;
our $port = $Test::Nginx::Util::RandPorts->{TEST_NGINX_RAND_PORT_3};
our $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port,
    Listen => 1, ReuseAddr => 1) or die $!;
listen $full, 0;
our @waiting = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
    PeerPort => $port, Blocking => 0) } 1 .. 4;
--- error_code: 504
--- response_body eval: $::TooSlow
--- error_log
upstream timed out (110: Connection timed out) while connecting to upstream



=== TEST 30: redirects are not followed, and not handed on
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/$arg_status;
    }
--- request eval: [map { "GET /token?status=$_" } 301, 302]
--- error_code eval: [502, 502]
--- response_headers eval: [("Content-Type: application/json\n!Location") x 2]
--- response_body eval: [($::Invalid) x 2]
--- endpoint_calls: 2



=== TEST 31: a success that is not 200, with a token
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/created;
    }
--- endpoint
    location = /created {
        return  201 '{"access_token":"a"}';
    }
--- response_body chomp
{"access_token":"a"}
--- no_error_log
[error]



=== TEST 32: 204
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/204;
    }
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log
answered 204



=== TEST 33: 304
--- status: 304 Not Modified
--- headers eval: ''
--- answers eval: ''
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log
answered 304



=== TEST 34: 200 without a body
--- answers eval: ''
--- error_code: 502
--- response_body_like: The token endpoint gave an invalid answer



=== TEST 35: 200 without a body, at the end of the connection
--- headers eval: ''
--- answers eval: ''
--- error_code: 502
--- response_body_like: The token endpoint gave an invalid answer



=== TEST 36: no JSON
--- answers chomp
access_token=a&token_type=bearer
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log eval
qr/\[error\].*answer of token endpoint "http:\S+\/token" is not a JSON object/



=== TEST 37: half of a JSON object
--- answers chomp
{"access_token":"a",
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log
is not a JSON object



=== TEST 38: more than one JSON object
--- answers chomp
{"access_token":"a"}{"access_token":"b"}
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 39: a NUL after the JSON object
--- answers eval: "{\"access_token\":\"a\"}\0"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 40: a byte order mark
--- answers eval: "\xef\xbb\xbf{\"access_token\":\"a\"}"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 41: UTF-16
--- answers eval: CORE::join("\0", split //, '{"access_token":"a"}') . "\0"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 42: JSON of another kind
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/kind?$arg_n;
    }
--- endpoint
    location = /kind {
        if ($args = 0) { return  200 '[{"access_token":"a"}]'; }
        if ($args = 1) { return  200 '"access_token"'; }
        if ($args = 2) { return  200 'null'; }
        if ($args = 3) { return  200 '42'; }
        if ($args = 4) { return  200 'true'; }
        if ($args = 5) { return  200 '{}'; }
        if ($args = 6) { return  200 "{'access_token':'a'}"; }
        if ($args = 7) { return  200 '{access_token:"a"}'; }
        if ($args = 8) { return  200 '{"access_token":"a",}'; }
        if ($args = 9) { return  200 '{"access_token":"a"/**/}'; }
    }
--- request eval: [map { "GET /token?n=$_" } 0 .. 9]
--- error_code eval: [(502) x 10]
--- response_body eval: [($::Invalid) x 10]



=== TEST 43: what lax parsers let pass, and RFC 8259 does not
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/lax?$arg_n;
        token_proxy_fields    *;
    }
--- endpoint
    location = /lax {
        if ($args = 0) { return  200 '{"access_token":"a","x":01}'; }
        if ($args = 1) { return  200 '{"access_token":"a","x":1.}'; }
        if ($args = 2) { return  200 '{"access_token":"a","x":.1}'; }
        if ($args = 3) { return  200 '{"access_token":"a","x":+1}'; }
        if ($args = 4) { return  200 '{"access_token":"a","x":1e}'; }
        if ($args = 5) { return  200 '{"access_token":"a","x":NaN}'; }
        if ($args = 6) { return  200 '{"access_token":"a","x":0x10}'; }
        if ($args = 7) { return  200 '{"access_token":"a","x":"
"}'; }
        if ($args = 8) { return  200 '{"access_token":"a","x":"\u00"}'; }
        if ($args = 9) { return  200 '{"access_token":"a","x":"\ud800"}'; }
    }
--- request eval: [map { "GET /token?n=$_" } 0 .. 9]
--- error_code eval: [(502) x 10]
--- response_body eval: [($::Invalid) x 10]



=== TEST 44: bytes that are not UTF-8
--- answers eval: "{\"access_token\":\"a\xff\"}"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 45: UTF-8 of a surrogate, and an overlong one
--- answers eval: "{\"access_token\":\"a\xed\xa0\x80\xc0\xaf\"}"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 46: UTF-8 whose second byte begins another character
--- answers eval: "{\"access_token\":\"a\xc3\xc3\"}"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 47: UTF-8 of more than four bytes begins with 0xf8
--- answers eval: "{\"access_token\":\"a\xf8\x9f\x98\x80\"}"
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 48: a NUL in the token, which other readers would cut there
--- answers chomp
{"access_token":"a\u0000b"}
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 49: deep nesting
--- answers eval: '{"access_token":"a","x":' . '[' x 20000 . ']' x 20000 . '}'
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 50: deep nesting without an end
--- answers eval: '{"x":' x 10000
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 51: thousands of members are nobody's token answer
--- answers eval: '{"access_token":"a"' . CORE::join('', map { qq(,"$_":1) } 1 .. 5000) . '}'
--- error_code: 502
--- response_body eval: $::Invalid



=== TEST 52: no access_token
--- answers chomp
{"token_type":"Bearer","id_token":"x"}
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log eval
qr/\[error\].*answer of token endpoint "http:\S+\/token" has no access_token that is a string/



=== TEST 53: an error in a 200
--- answers chomp
{"error":"invalid_client"}
--- error_code: 502
--- response_body eval: $::Refused
--- error_log
answered 200, error: invalid_client



=== TEST 54: an access_token that is no string
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/is?$arg_a;
    }
--- endpoint
    location = /is {
        return  200 '{"access_token":$args}';
    }
--- request eval: [map { "GET /token?a=$_" } '""', qw(null 42 true [] {} ["a"] {"a":"b"})]
--- error_code eval: [(502) x 8]
--- response_body eval: [($::Invalid) x 8]



=== TEST 55: of two access tokens the last one counts, and is empty
--- answers chomp
{"access_token":"a","access_token":""}
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log
has no access_token



=== TEST 56: too large, with a length
--- inside
token_proxy_max_response_size 100;
--- answers eval: '{"access_token":"' . 'a' x 82 . '"}'
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
too big subrequest response



=== TEST 57: too large, without a length
--- inside
token_proxy_max_response_size 100;
--- headers eval: ''
--- answers eval: '{"access_token":"' . 'a' x 82 . '"}'
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
too big subrequest response



=== TEST 58: too large, in chunks
--- inside
token_proxy_max_response_size 20;
--- raw eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
. "14\r\n{\"access_token\":\"a\"}\r\n1\r\n \r\n0\r\n\r\n"
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
too big subrequest response



=== TEST 59: as large as it may be
--- inside
token_proxy_max_response_size 20;
--- answers chomp
{"access_token":"a"}
--- response_body chomp
{"access_token":"a"}



=== TEST 60: as large as it may be, without a length
--- inside
token_proxy_max_response_size 20;
--- headers eval: ''
--- answers chomp
{"access_token":"a"}
--- response_body chomp
{"access_token":"a"}



=== TEST 61: much too large, and the endpoint is not read to its end
--- headers
Content-Length: 1000000000
--- answers eval: 'x' x 1000000
--- error_code: 502
--- response_body eval: $::Incomplete
--- error_log
too big subrequest response: 1000000000



=== TEST 62: too large, and the connection is kept
--- config
    location = /token {
        token_proxy                    on;
        token_proxy_endpoint           $TEST_NGINX_ENDPOINT/$arg_to;
        token_proxy_max_response_size  100;
    }
--- pipelined_requests eval: ['GET /token?to=ok', 'GET /token?to=401', 'GET /token?to=ok']
--- error_code eval: [502, 502, 502]
--- response_body eval: [$::Incomplete, $::Refused, $::Incomplete]
--- endpoint_calls: 3



=== TEST 63: an answer in gzip, which nobody asked for
--- headers eval: "Content-Encoding: gzip\n"
--- answers eval
use IO::Compress::Gzip; my $out; IO::Compress::Gzip::gzip(\'{"access_token":"a"}', \$out); $out
--- error_code: 502
--- response_body eval: $::Invalid
--- error_log
is not a JSON object



=== TEST 64: an error that is too large is an error all the same
--- inside
token_proxy_max_response_size 10;
--- status: 401 Unauthorized
--- answers chomp
{"error":"invalid_client"}
--- error_code: 502
--- error_log
answered 401



=== TEST 65: 503 that is too large is 503 all the same
--- inside
token_proxy_max_response_size 10;
--- status: 503 Service Unavailable
--- headers
Retry-After: 5
--- answers chomp
{"error":"temporarily_unavailable"}
--- error_code: 503
--- response_headers
Retry-After: 5



=== TEST 66: an error that repeats the secret
--- status: 401 Unauthorized
--- answers chomp
{"error":"my-secret","error_description":"the secret my-secret is wrong"}
--- error_code: 502
--- response_body eval: $::Refused
--- error_log
answered 401, error: (not shown), description: (not shown)



=== TEST 67: an error that repeats the Basic value
--- status: 401 Unauthorized
--- answers chomp
{"error":"invalid_client","error_description":"Basic bXkta2V5Om15LXNlY3JldA== is wrong"}
--- error_code: 502
--- error_log
answered 401, error: invalid_client, description: (not shown)



=== TEST 68: an error that repeats the secret in escapes
--- status: 401 Unauthorized
--- answers chomp
{"error":"invalid_client","error_description":"my\u002dsecret"}
--- error_code: 502
--- error_log
description: (not shown)



=== TEST 69: an error that repeats the request's body, with the secret form-encoded
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/token;
        token_proxy_auth_method    client_secret_post;
        token_proxy_client_id      my-key;
        token_proxy_client_secret  my/secret+;
    }
--- status: 400 Bad Request
--- answers chomp
{"error":"invalid_request","error_description":"cannot read client_secret=my%2Fsecret%2B"}
--- secrets
my/secret+
my%2Fsecret%2B
--- error_code: 502
--- error_log
description: (not shown)



=== TEST 70: an error that repeats the secret where the log cuts it
--- status: 401 Unauthorized
--- answers eval: '{"error":"invalid_client","error_description":"' . 'x' x 195 . 'my-secret"}'
--- error_code: 502
--- error_log
description: (not shown)
--- no_error_log
my-s



=== TEST 71: an error that repeats a parameter from a file
--- user_files
>>> password
pa/ss
--- config
    location = /token {
        token_proxy             on;
        token_proxy_endpoint    http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/token;
        token_proxy_grant_type  password;
        token_proxy_param       username  me;
        token_proxy_param       password  file:$TEST_NGINX_SERVROOT/html/password;
    }
--- status: 401 Unauthorized
--- answers chomp
{"error":"invalid_grant","error_description":"user me, password pa/ss is wrong"}
--- secrets
pa/ss
--- error_code: 502
--- error_log
description: (not shown)



=== TEST 72: an error that names a scope is what the log is for
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/token;
        token_proxy_param     scope  admin;
    }
--- status: 400 Bad Request
--- answers chomp
{"error":"invalid_scope","error_description":"my-key may not have scope admin"}
--- error_code: 502
--- error_log
error: invalid_scope, description: my-key may not have scope admin



=== TEST 73: an error that repeats the secret form-encoded for the Basic value
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/token;
        token_proxy_auth_method    client_secret_basic encoding=form;
        token_proxy_client_id      my-key;
        token_proxy_client_secret  my/secret+;
    }
--- status: 401 Unauthorized
--- answers chomp
{"error":"invalid_client","error_description":"my-key:my%2Fsecret%2B"}
--- secrets
my/secret+
my%2Fsecret%2B
--- error_code: 502
--- error_log
description: (not shown)



=== TEST 74: lines and control characters of an error do not reach the log
--- status: 400 Bad Request
--- answers chomp
{"error":"a\nb","error_description":"\u001b[31m\r\n2026/11/24 [emerg] all is lost \u00e9\u007f"}
--- error_code: 502
--- error_log
answered 400, error: a?b, description: ?[31m??2026/11/24 [emerg] all is lost ???
--- no_error_log eval
qr/^2026\/11\/24 \[emerg\] all/



=== TEST 75: a long error is cut in the log
--- status: 400 Bad Request
--- answers eval: '{"error":"invalid_request","error_description":"' . 'x' x 1000 . '"}'
--- error_code: 502
--- error_log eval: qr/description: x{200}(?: while|,)/



=== TEST 76: an error that is no text is not shown
--- status: 400 Bad Request
--- answers chomp
{"error":["a"],"error_description":{"b":1},"other":"c"}
--- error_code: 502
--- error_log eval: qr/answered 400(?: while|,) (?!error)/



=== TEST 77: the next server of an upstream block is tried
--- http_config
    upstream idp {
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server  127.0.0.1:$TEST_NGINX_ENDPOINT_PORT;
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/strict;
    }
--- error_log
connect() failed (111: Connection refused)



=== TEST 78: no server of an upstream block is up
--- http_config
    upstream idp {
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_3;
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/strict;
    }
--- request eval: ['GET /token', 'GET /token']
--- error_code eval: [502, 502]
--- response_body eval: [$::Unreachable, $::Unreachable]



=== TEST 79: a name that cannot be resolved
--- config
    location = /token {
        resolver              127.0.0.1:$TEST_NGINX_RAND_PORT_2 valid=1s;
        resolver_timeout      1s;
        token_proxy           on;
        token_proxy_endpoint  http://$arg_host/token;
    }
--- request
GET /token?host=idp.example
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
idp.example could not be resolved



=== TEST 80: a name without a resolver
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://$arg_host/token;
    }
--- request
GET /token?host=idp.example
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
no resolver defined to resolve idp.example



=== TEST 81: an error_page of the location
--- config
    location = /token {
        error_page            502 503 /busy.html;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }

    location = /busy.html {
        return  200 "of the user";
    }
--- not_json
--- error_code: 502
--- response_body chomp
of the user



=== TEST 82: an error_page of the location with another status
--- config
    location = /token {
        error_page            502 =200 @fallback;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }

    location @fallback {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- response_body chomp
{"access_token":"the-access-token","refresh_token":"the-refresh-token"}
--- endpoint_calls: 2



=== TEST 83: an error_page of the location for another error
--- config
    location = /token {
        error_page            503 /busy.html;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }
--- error_code: 502
--- response_body eval: $::Refused



=== TEST 84: an error_page of the location keeps Retry-After
--- config
    location = /token {
        error_page            503 /busy.html;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/429;
    }

    location = /busy.html {
        return  200 "of the user";
    }
--- not_json
--- error_code: 503
--- response_headers
Retry-After: 1
--- response_body chomp
of the user



=== TEST 85: an error_page of server level is for pages
--- config
    error_page  400 401 403 404 405 500 502 503 504 =200 /page.html;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }

    location = /page.html {
        return  200 "of the user";
    }
--- error_code: 502
--- response_body eval: $::Refused



=== TEST 86: an error_page of http level, too
--- http_config
    error_page  502 =200 /page.html;
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }

    location = /page.html {
        return  200 "of the user";
    }
--- error_code: 502
--- response_body eval: $::Refused



=== TEST 87: an error_page of an outer location, too
--- config
    location /token {
        error_page  502 =200 /page.html;

        location = /token {
            token_proxy           on;
            token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
        }
    }

    location = /page.html {
        return  200 "of the user";
    }
--- error_code: 502
--- response_body eval: $::Refused



=== TEST 88: a token location as an error_page of its own errors ends
--- config
    location = /token {
        error_page            502 /token;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }
--- error_code: 502
--- response_body eval: $::Refused
--- endpoint_calls: 2
