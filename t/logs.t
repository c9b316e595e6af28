# No secret, token or Basic value in a log at any level. t/lib/Token.pm looks
# for them in whatever nginx has written, at level debug, after every test of
# the others as well; here is what is most likely to hold them.

use lib 't/lib';
use Token tests => 92;
use Token::Util qw(slurp);

use MIME::Base64 qw(encode_base64);

our $Map = <<'END';
    map $arg_tenant $tenant_secret {
        acme     acme-secret;
        default  other-secret;
    }
END
our $MapSecrets = CORE::join "\n", 'acme-secret', 'other-secret',
    encode_base64('key-acme:acme-secret', ''),
    encode_base64('key-b:other-secret', '');

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->pipelined_requests;
});

# The check can find something: the log is there, at level debug.
add_test_cleanup_handler(sub {
    my ($block) = @_;
    my $log = slurp("$ENV{TEST_NGINX_SERVROOT}/logs/error.log");

    main::like($log, qr/\[debug\] .*http token handler/,
        $block->name . ' - the log is one for debugging');
    main::like($log, qr/\Q@{[$block->logged]}\E/, $block->name . ' - is logged')
        if defined $block->logged;
});

# An answer of the endpoint.
sub answer {
    my ($status, $body, @headers) = @_;

    return CORE::join "\r\n", "HTTP/1.1 $status",
        'Content-Length: ' . length $body, 'Connection: close', @headers, '',
        $body;
}

run_tests();

__DATA__

=== TEST 1: a token
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
        token_proxy_fields    *;
    }
--- response_body_like: the-access-token



=== TEST 2: client_secret_post
--- config
    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_method  client_secret_post;
    }
--- response_body_like: the-access-token



=== TEST 3: credentials of a map
--- http_config eval: $::Map
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      key-$arg_tenant;
        token_proxy_client_secret  $tenant_secret;
    }
--- request eval: ['GET /token?tenant=acme', 'GET /token?tenant=b']
--- response_body_like eval: ['the-access-token', 'the-access-token']
--- secrets eval: $::MapSecrets



=== TEST 4: credentials of a map, client_secret_post, a parameter of a map
--- http_config eval: $::Map
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_method    client_secret_post;
        token_proxy_client_id      key-$arg_tenant;
        token_proxy_client_secret  $tenant_secret;
        token_proxy_param          password  "pre-$tenant_secret";
    }
--- request
GET /token?tenant=acme
--- response_body_like: the-access-token
--- secrets eval: $::MapSecrets



=== TEST 5: credentials of a map that are wrong
--- http_config
    map $arg_tenant $tenant_secret {
        default  "acme-secret
more";
    }
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      key;
        token_proxy_client_secret  $tenant_secret;
    }
--- error_code: 500
--- error_log
the value of "token_proxy_client_secret" contains a newline
--- secrets
acme-secret



=== TEST 6: headers of the user's own with a secret of a map
--- http_config eval: $::Map
--- config
    location = /token {
        proxy_set_header      X-Secret  "a $tenant_secret";
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- response_body_like: the-access-token
--- secrets eval: $::MapSecrets



=== TEST 7: an endpoint that repeats the request in its headers and its answer
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
        token_proxy_fields    *;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
::answer('200 OK', '{"access_token":"the-access-token","secret":"my-secret"}',
    'X-Secret: my-secret', 'X-Basic: Basic bXkta2V5Om15LXNlY3JldA==',
    'Set-Cookie: session=the-access-token', 'ETag: "the-access-token"',
    'Location: /?access_token=the-access-token', 'Server: my-secret')
--- response_body_like: my-secret



=== TEST 8: an error that repeats the request in its headers and its answer
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
::answer('401 Unauthorized', '{"error":"invalid_client","error_description":"my-secret",'
    . '"request":"Basic bXkta2V5Om15LXNlY3JldA=="}',
    'WWW-Authenticate: Basic realm="my-secret"', 'X-Secret: my-secret')
--- error_code: 502
--- error_log
answered 401, error: invalid_client, description: (not shown)



=== TEST 9: an answer that is no JSON
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval: ::answer('200 OK', 'access_token=the-access-token&my-secret')
--- error_code: 502
--- error_log
is not a JSON object



=== TEST 10: an answer that is cut short
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"the-access-token\""
--- error_code: 502
--- error_log
upstream prematurely closed connection



=== TEST 11: headers that repeat the request, after a server that was down
--- http_config
    upstream idp {
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
[split /(?=X-)/, ::answer('200 OK', '{"access_token":"the-access-token"}',
    'X-Secret: my-secret', 'X-Basic: Basic bXkta2V5Om15LXNlY3JldA==')]
--- response_body_like: the-access-token
--- error_log
Connection refused



=== TEST 12: headers that repeat the request, after a server that closed
--- http_config
    upstream idp {
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server  127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
    server {
        listen     127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        error_log  logs/endpoint.log info;
        return     444;
    }
--- config
    location = /token {
        proxy_next_upstream   error non_idempotent;
        token_proxy           on;
        token_proxy_endpoint  http://idp/;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
::answer('200 OK', '{"access_token":"the-access-token"}',
    'X-Secret: my-secret', 'X-Basic: Basic bXkta2V5Om15LXNlY3JldA==')
--- response_body_like: the-access-token
--- error_log
upstream prematurely closed connection



=== TEST 13: the next request on the connection is logged as ever
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }

    location = /page {
        return  200 "page of $host";
    }
--- pipelined_requests eval: ['GET /token', 'GET /page', 'GET /token']
--- response_body_like eval: ['the-access-token', 'page of', 'the-access-token']
--- logged: http script copy: "page of "



=== TEST 14: two at once on a connection
--- config
    ssi  on;

    location = /slow {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/slow;
    }

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/told;
    }
--- endpoint
    location = /told {
        add_header  X-Secret  $http_authorization;
        add_header  X-Other   my-secret;
        return      200 '{"access_token":"the-access-token"}';
    }
--- user_files
>>> page.html
<!--#include virtual="/slow" --><!--#include virtual="/token" --><!--#include virtual="/slow" -->
--- request
GET /page.html
--- response_body_like: ^(?:\{"access_token":"the-access-token".*?\}){3}



=== TEST 15: with a cache
--- http_config
    token_proxy_cache_zone  zone=tokens:1m;
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/told;
        token_proxy_cache     tokens;
    }
--- endpoint
    location = /told {
        add_header  X-Secret  $http_authorization;
        add_header  X-Other   my-secret;
        return      200 '{"access_token":"the-access-token","expires_in":60}';
    }
--- request eval: ['GET /token', 'GET /token']
--- response_body_like eval: ['the-access-token', 'the-access-token']
--- endpoint_calls: 1



=== TEST 16: variables of the module in the access log
--- http_config
    log_format  all  "$token_proxy_cache_status $token_proxy_expires_in $token_proxy_upstream_status $token_proxy_upstream_time $upstream_addr $sent_http_cache_control $request_body $proxy_host";
--- config
    access_log  logs/all.log  all;

    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_auth_method  client_secret_post;
    }
--- response_body_like: the-access-token



=== TEST 17: the names that the module uses inside are of no use outside
--- http_config
    log_format  all  "[$token_proxy_internal_authorization$token_proxy_internal_body$token_proxy_internal_endpoint]";
--- config
    access_log  logs/all.log  all;
    add_header  X-Inside  "[$token_proxy_internal_authorization$token_proxy_internal_body]";

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/ok;
    }
--- response_headers
X-Inside: []



=== TEST 18: a header of the user's with such a name gets the Basic value, which the endpoint has anyway
--- config
    location = /token {
        proxy_set_header      X-Custom  $token_proxy_internal_authorization;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- response_body_like: "x_custom":"Basic bXkta2V5Om15LXNlY3JldA=="



=== TEST 19: the configuration itself is not logged
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      key-$arg_a;
        token_proxy_client_secret  literal-secret;
        token_proxy_param          password "literal-password$arg_a";
    }
--- response_body_like: the-access-token
--- secrets
literal-secret
literal-password



=== TEST 20: headers that repeat the request and arrive one by one
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- init
use IO::Socket::INET;
use Time::HiRes qw(sleep);
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1,
    LocalPort => $Test::Nginx::Util::RandPorts->{TEST_NGINX_RAND_PORT_1},
    ReuseAddr => 1) or die $!;
if (fork == 0) {
    my $client = $listen->accept;
    sysread $client, my $request, 4096;
    for my $piece ("HTTP/1.1 200 OK\r\n", "X-Secret: my-secret\r\n",
        "X-Basic: Basic bXkta2V5Om15LXNlY3JldA==\r\n",
        "Content-Length: 35\r\n\r\n", '{"access_token":"the-access-token"}')
    {
        syswrite $client, $piece;
        sleep 0.1;
    }
    close $client;
    require POSIX;
    POSIX::_exit(0);
}
--- response_body_like: the-access-token
