# Directives of other modules at the levels around a token location: the token
# is right, the endpoint gets the right request, and nothing of either touches
# a disk.

use lib 't/lib';
use Token tests => 291;
use Token::Util qw(slurp);

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';
our $Location = <<'END';
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
END

# outer: lines at server level, around $Location.
add_block_preprocessor(sub {
    my ($block) = @_;

    if (defined(my $outer = $block->outer)) {
        $block->set_value(config => $outer . $Location);
        $block->set_value(response_body => $Token)
            unless defined $block->response_body
                || defined $block->response_body_like
                || defined $block->error_code;
        $block->set_value(endpoint_calls => 1)
            unless defined $block->endpoint_calls;
    }

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->pipelined_requests;

    # A temporary file goes, the directories that were made for it stay.
    $block->set_value(http_config => ($block->http_config // '') . <<'END');
    proxy_temp_path        $TEST_NGINX_SERVROOT/proxy_temp 1 2;
    client_body_temp_path  $TEST_NGINX_SERVROOT/client_body_temp 1 2;
END
});

add_test_cleanup_handler(sub {
    my ($block) = @_;
    my @files = glob "$ENV{TEST_NGINX_SERVROOT}/{*_temp,cache,store}/*";

    main::is(scalar(@files), 0, $block->name . ' - no file is made')
        or main::diag("@files") unless defined $block->files_ok;
});

add_test_cleanup_handler(sub {
    my ($block) = @_;

    main::is(scalar(() = slurp("$ENV{TEST_NGINX_SERVROOT}/logs/access.log")
        =~ /GET \/token/g), $block->lines, $block->name . ' - lines of the log')
        if defined $block->lines;
});

run_tests();

__DATA__

=== TEST 1: gzip, and a caller who does not take it
--- outer
    gzip             on;
    gzip_types       *;
    gzip_min_length  1;
    gzip_proxied     any;
    gunzip           on;
    gzip_static      always;
--- response_headers
!Content-Encoding



=== TEST 2: sub_filter
--- outer
    sub_filter        access  replaced;
    sub_filter        token   replaced;
    sub_filter_types  *;
    sub_filter_once   off;



=== TEST 3: sub_filter in the token location itself
--- config
    location = /token {
        sub_filter            access  replaced;
        sub_filter_types      *;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- response_body eval: $::Token



=== TEST 4: sub_filter goes on elsewhere
--- config eval
"sub_filter page replaced; sub_filter_types *;
location = /page.html { } $::Location"
--- user_files
>>> page.html
a page
--- request
GET /page.html
--- response_body
a replaced



=== TEST 5: charset
--- config
    charset           koi8-r;
    source_charset    utf-8;
    charset_types     *;
    override_charset  on;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/utf8;
    }
--- http_config
    charset_map  koi8-r  utf-8 {
        C0  D18E;  # ю
    }
--- endpoint
    location = /utf8 {
        return  200 '{"access_token":"ю"}';
    }
--- response_headers
Content-Type: application/json
--- response_body eval
"{\"access_token\":\"\xd1\x8e\"}"



=== TEST 6: add_before_body and add_after_body
--- outer
    add_before_body  /page.html;
    add_after_body   /page.html;
    addition_types   *;
--- user_files
>>> page.html
a page



=== TEST 7: ssi
--- config
    ssi        on;
    ssi_types  *;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ssi;
    }
--- endpoint
    location = /ssi {
        return  200 '{"access_token":"<!--# include virtual=/page.html -->"}';
    }
--- user_files
>>> page.html
a page
--- response_body chomp
{"access_token":"<!--# include virtual=/page.html -->"}



=== TEST 8: proxy_cache of POST
--- http_config
    proxy_cache_path  $TEST_NGINX_SERVROOT/cache keys_zone=pages:1m;
--- outer
    proxy_cache          pages;
    proxy_cache_methods  GET HEAD POST;
    proxy_cache_key      all;
    proxy_cache_valid    any 1h;
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
--- request eval: ['GET /token', 'GET /token', "POST /token\na"]
--- response_body eval: [($::Token) x 3]
--- endpoint_calls: 3



=== TEST 9: proxy_cache in the token location itself
--- http_config
    proxy_cache_path  $TEST_NGINX_SERVROOT/cache keys_zone=pages:1m;
--- config
    location = /token {
        proxy_cache            pages;
        proxy_cache_methods    POST;
        proxy_cache_key        all;
        proxy_cache_valid      any 1h;
        proxy_cache_use_stale  error timeout updating http_500;
        token_proxy            on;
        token_proxy_endpoint   $TEST_NGINX_ENDPOINT/strict;
    }
--- request eval: ['GET /token', 'GET /token']
--- response_body eval: [($::Token) x 2]
--- endpoint_calls: 2



=== TEST 10: proxy_store on
--- outer
    root         $TEST_NGINX_SERVROOT/store;
    proxy_store  on;



=== TEST 11: proxy_store with a path
--- outer
    proxy_store         $TEST_NGINX_SERVROOT/store/$uri;
    proxy_store_access  user:rw group:rw all:r;



=== TEST 12: small buffers, and a large token
--- config
    proxy_buffer_size           512;
    proxy_buffers               2 512;
    proxy_busy_buffers_size     512;
    proxy_temp_file_write_size  512;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\n" . CORE::join('', map { "X-$_: " . 'y' x 100 . "\r\n" } 1 .. 20)
. "\r\n{\"access_token\":\"" . 'a' x 60000 . '"}'
--- response_body eval: '{"access_token":"' . 'a' x 60000 . '"}'



=== TEST 13: proxy_buffering off
--- config
    proxy_buffering  off;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval: "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"" . 'a' x 60000 . '"}'
--- response_body eval: '{"access_token":"' . 'a' x 60000 . '"}'



=== TEST 14: a small subrequest_output_buffer_size
--- outer
    subrequest_output_buffer_size  10;



=== TEST 15: proxy_intercept_errors with error_page
--- config
    proxy_intercept_errors  on;
    error_page              401 502 =200 /page.html;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }

    location = /page.html {
        return  200 "a page";
    }
--- error_code: 502
--- response_body chomp
{"error":"server_error","error_description":"The token endpoint refused the request."}
--- endpoint_calls: 1



=== TEST 16: proxy_intercept_errors in the token location itself
--- config
    location = /token {
        proxy_intercept_errors  on;
        error_page              401 /page.html;
        token_proxy             on;
        token_proxy_endpoint    $TEST_NGINX_ENDPOINT/401;
    }

    location = /page.html {
        return  200 "a page";
    }
--- error_code: 502
--- response_body chomp
{"error":"server_error","error_description":"The token endpoint refused the request."}
--- endpoint_calls: 1



=== TEST 17: proxy_method
--- outer
    proxy_method  PUT;



=== TEST 18: proxy_set_body
--- outer
    proxy_set_body  "body of the server";



=== TEST 19: client_body_in_file_only, and a body
--- outer
    client_body_in_file_only       on;
    client_body_in_single_buffer   on;
    client_body_buffer_size        1;
--- request eval: "POST /token\n" . 'x' x 100000



=== TEST 20: proxy_pass_request_headers off
--- outer
    proxy_pass_request_headers  off;



=== TEST 21: proxy_pass_request_headers on
--- outer
    proxy_pass_request_headers  on;
--- more_headers
Authorization: Basic b2Y6Y2FsbGVy
Accept: */*



=== TEST 22: proxy_pass_request_body off
--- outer
    proxy_pass_request_body  off;
--- request eval: "POST /token\n" . 'x' x 100000



=== TEST 23: proxy_request_buffering off, and a body
--- outer
    proxy_request_buffering  off;
--- request eval: "POST /token\n" . 'x' x 100000



=== TEST 24: proxy_ignore_headers, and headers by which an endpoint commands nginx
--- config
    proxy_ignore_headers  Vary;
    proxy_pass_header     X-Accel-Redirect;
    proxy_pass_header     Set-Cookie;
    proxy_pass_header     Access-Control-Allow-Origin;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }

    location = /page.html {
        return  200 "a page";
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
CORE::join("\r\n", 'HTTP/1.1 200 OK', 'Content-Length: 20',
    'X-Accel-Redirect: /page.html', 'X-Accel-Buffering: no',
    'X-Accel-Limit-Rate: 1', 'X-Accel-Expires: 3600', 'Set-Cookie: a=b',
    'Access-Control-Allow-Origin: *', '', '{"access_token":"a"}')
--- response_headers
!Set-Cookie
!Access-Control-Allow-Origin
!X-Accel-Redirect
--- response_body chomp
{"access_token":"a"}



=== TEST 25: an error of the endpoint cannot command nginx either
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }

    location = /page.html {
        return  200 "a page";
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 404 Not Found\r\nX-Accel-Redirect: /page.html\r\nContent-Length: 0\r\n\r\n"
--- error_code: 502
--- response_body chomp
{"error":"server_error","error_description":"The token endpoint refused the request."}



=== TEST 26: proxy_redirect, proxy_cookie_domain, proxy_cookie_path, proxy_hide_header
--- outer
    proxy_redirect       http:// https://;
    proxy_cookie_domain  a b;
    proxy_cookie_path    / /a;
    proxy_hide_header    Content-Type;



=== TEST 27: proxy_force_ranges, and a Range
--- outer
    proxy_force_ranges  on;
    slice               2;
--- more_headers
Range: bytes=0-3
--- response_headers
!Content-Range



=== TEST 28: proxy_next_upstream and its companions
--- outer
    proxy_next_upstream        error timeout http_403 http_404 non_idempotent;
    proxy_next_upstream_tries  3;
    proxy_ignore_client_abort  on;
    proxy_socket_keepalive     on;
    proxy_headers_hash_bucket_size  128;



=== TEST 29: mirror
--- config eval
"mirror /mirror; location = /mirror { internal; return 204; } $::Location"
--- request eval: "POST /token\n" . 'x' x 100
--- response_body eval: $::Token



=== TEST 30: auth_request
--- config eval
"auth_request /auth; location = /auth { auth_request off; return 204; } $::Location"
--- response_body eval: $::Token
--- endpoint_calls: 1



=== TEST 31: auth_request that refuses: no token is asked for
--- config eval
"auth_request /auth; location = /auth { auth_request off; return 401; } $::Location"
--- error_code: 401
--- endpoint_calls: 0



=== TEST 32: allow and deny: no token is asked for
--- outer
    deny  all;
--- error_code: 403
--- endpoint_calls: 0



=== TEST 33: log_subrequest: one line for one request
--- outer
    log_subrequest  on;
--- pipelined_requests eval: ['GET /token?1', 'GET /token?2']
--- response_body eval: [$::Token, $::Token]
--- endpoint_calls: 2
--- lines: 2



=== TEST 34: output directives
--- outer
    aio                        threads;
    sendfile                   on;
    directio                   512;
    output_buffers             1 1;
    postpone_output            1;
    chunked_transfer_encoding  off;
    limit_rate                 1m;
    default_type               text/html;
    etag                       on;
    if_modified_since          before;
    server_tokens              off;
    keepalive_timeout          0;
    add_header                 X-A b always;
--- response_headers
Content-Type: application/json
X-A: b



=== TEST 35: autoindex, index, dav_methods
--- outer
    autoindex    on;
    index        index.html;
    dav_methods  PUT DELETE;
--- request eval: ['GET /token', 'DELETE /token']
--- error_code eval: [200, 405]



=== TEST 36: an "if" block inside
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        if ($arg_a) {
            add_header  X-If  inside;
        }
    }
--- request eval: ['GET /token?a=b', 'GET /token']
--- response_body eval: [$::Token, $::Token]
--- response_headers eval: ['X-If: inside', '!X-If']
--- endpoint_calls: 2



=== TEST 37: an "if" block with a return
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        if ($http_origin = "") {
            return  403;
        }
    }
--- error_code: 403
--- endpoint_calls: 0



=== TEST 38: an "if" block with a content handler of its own
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        if ($arg_a) {
            proxy_pass  http://127.0.0.1:$TEST_NGINX_ANSWER_PORT;
        }
    }
--- request eval: ['GET /token', 'GET /token?a=b']
--- error_code eval: [200, 404]
--- endpoint_calls: 1



=== TEST 39: a limit_except block inside
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        limit_except GET {
            deny  all;
        }
    }
--- request eval: ['GET /token', "POST /token\na"]
--- error_code eval: [200, 403]
--- endpoint_calls: 1



=== TEST 40: a limit_except block that lets pass
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        limit_except GET {
            allow  all;
        }
    }
--- request
POST /token
a
--- response_body eval: $::Token



=== TEST 41: a nested location does not inherit token_proxy
--- config
    location /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;

        location = /token/page.html {
        }
    }
--- user_files
>>> token/page.html
a page
--- request eval: ['GET /token/page.html', 'GET /token/other']
--- response_body eval: ["a page\n", $::Token]
--- endpoint_calls: 1



=== TEST 42: token_proxy off
--- config
    location = /token.html {
        token_proxy           off;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- user_files
>>> token.html
a page
--- request
GET /token.html
--- response_body
a page
--- endpoint_calls: 0



=== TEST 43: a prefix location with a slash makes no redirect
--- config
    location /token/ {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- request eval: ['GET /token/', 'GET /token']
--- error_code eval: [200, 404]



=== TEST 44: reached by an SSI include
--- config eval
"ssi on; location = /page.html { } $::Location"
--- user_files
>>> page.html
[<!--#include virtual="/token" -->]
--- request
GET /page.html
--- response_headers
!Pragma
--- response_body eval: "[$::Token]\n"
--- endpoint_calls: 1



=== TEST 45: reached by SSI includes that wait for one another or not
--- config
    ssi  on;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/slow;
    }

    location = /fast {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_fields    refresh_token;
    }

    location = /error {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/401;
    }
--- user_files
>>> page.html
[<!--#include virtual="/token" -->][<!--#include virtual="/fast" -->][<!--#include virtual="/error" -->][<!--#include virtual="/fast?b" wait="yes" -->]
--- request
GET /page.html
--- response_body eval
"[$::Token][{\"refresh_token\":\"the-refresh-token\"}]"
. "[{\"error\":\"server_error\",\"error_description\":\"The token endpoint refused the request.\"}]"
. "[{\"refresh_token\":\"the-refresh-token\"}]\n"
--- endpoint_calls: 4



=== TEST 46: reached by an SSI include into a variable
--- config eval
"ssi on; location = /page.html { } $::Location"
--- user_files
>>> page.html
[<!--#include virtual="/token" set="t" --><!--#echo var="t" encoding="none" -->]
--- request
GET /page.html
--- response_body eval: "[$::Token]\n"
--- endpoint_calls: 1



=== TEST 47: reached by SSI includes into variables, behind one that is slow
--- config
    ssi  on;

    location = /slow {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/slow;
    }

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_fields    refresh_token;
    }
--- user_files
>>> page.html
[<!--#include virtual="/slow" --><!--#include virtual="/token" set="a" --><!--#include virtual="/token" set="b" --><!--#echo var="a" encoding="none" --><!--#echo var="b" encoding="none" -->]
--- request
GET /page.html
--- response_body eval
"[$::Token" . '{"refresh_token":"the-refresh-token"}' x 2 . "]\n"
--- endpoint_calls: 3



=== TEST 48: reached by add_after_body
--- config eval
"location = /page.html { add_after_body /token; } $::Location"
--- user_files
>>> page.html
a page
--- request
GET /page.html
--- response_body eval: "a page\n$::Token"



=== TEST 49: reached by a rewrite
--- config eval
"location = /old { rewrite ^ /token last; } $::Location"
--- request
GET /old?a=b
--- response_body eval: $::Token
--- response_headers
Cache-Control: no-store



=== TEST 50: reached by an error_page of another location
--- config eval
"location = /old { error_page 404 =200 /token; return 404; } $::Location"
--- request
GET /old
--- response_body eval: $::Token
--- response_headers
Cache-Control: no-store



=== TEST 51: reached by an error_page after a body was sent
--- config eval
"location = /old { error_page 404 =200 /token; return 404; } $::Location"
--- pipelined_requests eval: ["POST /old\n" . 'x' x 100000, 'GET /token']
--- response_body eval: [$::Token, $::Token]



=== TEST 52: reached by try_files, a named location
--- config
    location = /token {
        try_files  /none @token;
    }

    location @token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- response_body eval: $::Token
--- response_headers
Cache-Control: no-store
--- endpoint_calls: 1



=== TEST 53: a regular expression
--- config
    location ~* ^/TOKEN(?:/|$) {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- response_body eval: $::Token
--- endpoint_calls: 1



=== TEST 54: an internal location
--- config
    location = /token {
        internal;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }

    location = /old {
        rewrite  ^  /token  last;
    }
--- request eval: ['GET /token', 'GET /old']
--- error_code eval: [404, 200]
--- endpoint_calls: 1



=== TEST 55: reached as an auth_request
--- config eval
"location = /page.html { auth_request /token; } $::Location"
--- user_files
>>> page.html
a page
--- request
GET /page.html
--- response_body
a page
--- endpoint_calls: 1



=== TEST 56: reached as a mirror
--- config eval
"location = /page.html { mirror /token; } $::Location"
--- user_files
>>> page.html
a page
--- request
GET /page.html
--- response_body
a page
--- endpoint_calls: 1
