# What the token endpoint receives, byte by byte where a caller could have a
# hand in it.

use lib 't/lib';
use Token tests => 204;
use Token::Util qw($ROOT nginx_since slurp work_dir spew);

my $dir = work_dir();

$ENV{TEST_NGINX_SECRET_FILE} = spew("$dir/secret", "file-secret\n");
chmod 0600, "$dir/secret";

$ENV{TOKEN_TEST_KEY} = 'env-key';
$ENV{TOKEN_TEST_SECRET} = 'env-secret';
$ENV{TOKEN_TEST_SCOPE} = 'read write';

# What /echo tells of a request, but for the token.
our $Told = q(token_proxy_fields  *;);

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value(request => 'GET /token')
        unless $block->request || $block->raw_request
            || $block->pipelined_requests;

    # one connection, which sees one request
    if (defined $block->tcp_query) {
        my $body = '{"access_token":"the-access-token"}';

        $block->set_value(http_config => ($block->http_config // '')
            . 'upstream idp { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }');
        $block->set_value(tcp_listen => '$TEST_NGINX_RAND_PORT_1');
        $block->set_value(tcp_query_len => length $block->tcp_query);
        $block->set_value(tcp_reply => "HTTP/1.1 200 OK\r\nContent-Length: "
            . length($body) . "\r\nConnection: close\r\n\r\n$body");
        $block->set_value(response_body => $body);
    }
});

our ($VERSION) = slurp("$ROOT/ngx_http_token_module/ngx_http_token.h")
    =~ /^#define NGX_HTTP_TOKEN_VERSION +"(.*)"$/m;

# A request as the endpoint must receive it: these lines and no other. From
# 1.29.7 on nginx keeps the connections of an upstream block by default.
sub received {
    my ($body, @headers) = @_;

    push @headers, "User-Agent: ngx_http_token_module/$VERSION"
        unless grep { /^User-Agent:/ } @headers;

    return join '', "POST /oauth2/token HTTP/1.1\r\n",
        (map { "$_\r\n" } @headers,
            'Content-Type: application/x-www-form-urlencoded',
            'Accept: application/json',
            'Authorization: Basic bXkta2V5Om15LXNlY3JldA==',
            (nginx_since('1.29.7') ? () : 'Connection: close'),
            'Content-Length: ' . length $body, 'Host: idp'),
        "\r\n$body";
}

run_tests();

__DATA__

=== TEST 1: a token request, and nothing else
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 2: no header of the caller arrives
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- more_headers
Accept: text/html
Accept-Encoding: gzip
Accept-Language: de
Authorization: Bearer of-the-caller
Cookie: session=of-the-caller
Content-Type: text/plain
DPoP: proof
If-None-Match: "etag"
Origin: https://app.example.com
Range: bytes=0-1
Referer: https://app.example.com/
User-Agent: Mozilla
X-Custom: 1
X-Forwarded-For: 192.0.2.1
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 3: no query of the caller arrives
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- request
GET /token?grant_type=password&scope=all
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 4: no body of the caller arrives
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- request
POST /token
grant_type=password&username=u&password=p
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 5: no chunked body of the caller arrives
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- raw_request eval
"POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 6: no path of the caller arrives, in a prefix location
--- config
    location /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- request
GET /token/of/the%20caller?a=b
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 7: no path of the caller arrives, where the endpoint has none
--- http_config
    server {
        listen     127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        error_log  logs/endpoint.log info;

        location / {
            default_type  application/json;
            return        200 '{"access_token":"$request_uri"}';
        }
    }
--- config
    location /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
--- request
GET /token/of/the%20caller?a=b
--- response_body chomp
{"access_token":"/"}



=== TEST 8: no path of the caller arrives, where a variable endpoint has none
--- http_config
    server {
        listen     127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        error_log  logs/endpoint.log info;

        location / {
            default_type  application/json;
            return        200 '{"access_token":"$request_uri"}';
        }
    }
--- config
    location /token {
        set  $host_port  127.0.0.1:$TEST_NGINX_RAND_PORT_2;

        token_proxy           on;
        token_proxy_endpoint  http://$host_port;
    }
--- request
GET /token/of/the%20caller?a=b
--- response_body chomp
{"access_token":"/"}



=== TEST 9: the endpoint's own query arrives
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo?tenant=a%20b;
        token_proxy_fields    *;
    }
--- request
GET /token?tenant=c
--- response_body_like: "uri":"/echo\?tenant=a%20b"



=== TEST 10: a query without a path
--- http_config
    server {
        listen     127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        error_log  logs/endpoint.log info;

        location / {
            default_type  application/json;
            return        200 '{"access_token":"$request_uri"}';
        }
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:$TEST_NGINX_RAND_PORT_2?tenant=a;
    }
--- response_body chomp
{"access_token":"/?tenant=a"}



=== TEST 11: a HEAD request is the same POST to the endpoint
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
    }
--- request
HEAD /token
--- response_headers
Content-Length: 71
--- response_body
--- endpoint_calls: 1



=== TEST 12: the user's own headers arrive
--- config
    proxy_set_header  X-Server    of-the-server;

    location = /token {
        proxy_set_header  X-Custom    "of the user";
        proxy_set_header  X-Address   $remote_addr;
        proxy_set_header  User-Agent  token-module;

        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- tcp_query eval
::received('grant_type=client_credentials', 'X-Custom: of the user',
    'X-Address: unix:', 'User-Agent: token-module')



=== TEST 13: headers of outer levels do not arrive
--- http_config
    proxy_set_header  X-Http  of-http;
--- config
    proxy_set_header  Host               $host;
    proxy_set_header  X-Real-IP          $remote_addr;
    proxy_set_header  X-Forwarded-For    $proxy_add_x_forwarded_for;
    proxy_set_header  X-Forwarded-Proto  $scheme;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- more_headers
X-Forwarded-For: 192.0.2.1
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 14: variables of the user's headers know no caller
--- config
    location = /token {
        proxy_set_header  Cookie        $http_cookie;
        proxy_set_header  X-Arg         $arg_a;
        proxy_set_header  X-Args        $args;
        proxy_set_header  X-Forwarded   $http_x_forwarded_for;
        proxy_set_header  X-Host        $host;

        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- request
GET /token?a=b
--- more_headers
Cookie: a=b
X-Forwarded-For: 192.0.2.1
--- tcp_query eval
::received('grant_type=client_credentials', 'X-Host: idp')



=== TEST 15: nor do they know what "set" has set
--- config
    location = /token {
        set                   $mine   of-the-caller;
        proxy_set_header      X-Mine  $mine;
        proxy_set_header      X-Uri   $uri;
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- tcp_query eval: ::received('grant_type=client_credentials', 'X-Uri: /')



=== TEST 16: variables of the connection and the request line are not the caller's
--- config
    location = /token {
        proxy_set_header  X-Method   $request_method;
        proxy_set_header  X-Uri      $request_uri;
        proxy_set_header  X-Address  $remote_addr;

        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- request
GET /token?a=b
--- tcp_query eval
::received('grant_type=client_credentials', 'X-Method: GET',
    'X-Uri: /token', 'X-Address: unix:')



=== TEST 17: the Host header names the endpoint, with a Host of server level
--- http_config
    upstream endpoint { server 127.0.0.1:$TEST_NGINX_ENDPOINT_PORT; }
--- config
    proxy_set_header  Host  $host;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://endpoint/echo;
        token_proxy_fields    *;
    }
--- more_headers
Host: of-the-caller.example
--- response_body_like: "host":"endpoint"



=== TEST 18: the Host header names the endpoint's port
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- response_body_like eval: qr/"host":"127.0.0.1:$ENV{TEST_NGINX_ENDPOINT_PORT}"/



=== TEST 19: the Host header names the endpoint's port, with $http_host
--- config
    location = /token {
        proxy_set_header      Host  $http_host;
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- response_body_like eval: qr/"host":"127.0.0.1:$ENV{TEST_NGINX_ENDPOINT_PORT}"/



=== TEST 20: a Host header of the user's own
--- config
    location = /token {
        proxy_set_header  Host  login.example.com;

        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }
--- response_body_like: "host":"login.example.com"



=== TEST 21: the module's headers win over the user's
--- config
    location = /token {
        proxy_set_header  authorization      "Basic of-the-user";
        proxy_set_header  Content-Type       application/json;
        proxy_set_header  ACCEPT             */*;
        proxy_set_header  Accept-Encoding    gzip;
        proxy_set_header  Connection         upgrade;
        proxy_set_header  Upgrade            websocket;
        proxy_set_header  Content-Length     5;
        proxy_set_header  Transfer-Encoding  chunked;
        proxy_set_header  Expect             100-continue;
        proxy_set_header  TE                 trailers;
        proxy_set_header  Range              bytes=0-1;

        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 22: parameters are form-encoded, in their order
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
        token_proxy_param     scope     "read write";
        token_proxy_param     "a&b=c"   "100% é+~*-._/";
        token_proxy_param     audience  https://one.example;
        token_proxy_param     audience  https://two.example;
    }
--- tcp_query eval
::received('grant_type=client_credentials&scope=read+write'
    . '&a%26b%3Dc=100%25+%C3%A9%2B%7E*-._%2F'
    . '&audience=https%3A%2F%2Fone.example'
    . '&audience=https%3A%2F%2Ftwo.example')



=== TEST 23: parameters from the environment, a file and a variable
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
        token_proxy_param     scope   env:TOKEN_TEST_SCOPE;
        token_proxy_param     ticket  file:$TEST_NGINX_SECRET_FILE;
        token_proxy_param     tenant  "t-$arg_tenant";
    }
--- request
GET /token?tenant=a%26b
--- secrets
file-secret
--- tcp_query eval
::received('grant_type=client_credentials&scope=read+write'
    . '&ticket=file-secret&tenant=t-a%2526b')



=== TEST 24: parameters of server level, and none of them where a location has its own
--- config
    token_proxy_param  scope  server;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
    }

    location = /own {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/echo;
        token_proxy_fields    *;
        token_proxy_param     audience  own;
    }
--- request eval: ['GET /token', 'GET /own']
--- response_body_like eval
['"body":"grant_type=client_credentials&scope=server"',
 '"body":"grant_type=client_credentials&audience=own"']



=== TEST 25: another grant type
--- config
    location = /token {
        token_proxy             on;
        token_proxy_endpoint    http://idp/oauth2/token;
        token_proxy_grant_type  urn:ietf:params:oauth:grant-type:token-exchange;
    }
--- tcp_query eval
::received('grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange')



=== TEST 26: the secret as it is in the Basic header
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_client_id      "my key";
        token_proxy_client_secret  "a+b/c:%25 ~";
        token_proxy_fields         *;
    }
--- secrets eval: "a+b/c:%25 ~\n" . MIME::Base64::encode_base64('my key:a+b/c:%25 ~', '')
--- response_body_like eval
quotemeta '"authorization":"Basic '
    . MIME::Base64::encode_base64('my key:a+b/c:%25 ~', '') . '"'



=== TEST 27: encoding=raw is the same
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method    client_secret_basic encoding=raw;
        token_proxy_client_id      "my key";
        token_proxy_client_secret  "a+b/c:%25 ~";
        token_proxy_fields         *;
    }
--- response_body_like eval
quotemeta '"authorization":"Basic '
    . MIME::Base64::encode_base64('my key:a+b/c:%25 ~', '') . '"'



=== TEST 28: encoding=form encodes both parts of the Basic header first
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method    client_secret_basic encoding=form;
        token_proxy_client_id      "my:key";
        token_proxy_client_secret  "a+b/c:%25 ~";
        token_proxy_fields         *;
    }
--- secrets eval: "a+b/c:%25 ~\na%2Bb%2Fc%3A%2525+%7E"
--- response_body_like eval
quotemeta '"authorization":"Basic '
    . MIME::Base64::encode_base64('my%3Akey:a%2Bb%2Fc%3A%2525+%7E', '') . '"'



=== TEST 29: client_secret_post sends both in the body and no Authorization
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method    client_secret_post;
        token_proxy_client_id      my:key;
        token_proxy_client_secret  "a+b/c:%25 ~";
        token_proxy_param          scope  x;
        token_proxy_fields         *;
    }
--- more_headers
Authorization: Bearer of-the-caller
--- secrets eval: "a+b/c:%25 ~\na%2Bb%2Fc%3A%2525+%7E"
--- response_body_like eval
quotemeta('"authorization":""') . '.*' . quotemeta
    '"body":"grant_type=client_credentials&client_id=my%3Akey'
    . '&client_secret=a%2Bb%2Fc%3A%2525+%7E&scope=x"'



=== TEST 30: auth_method none sends the id alone
--- config
    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method  none;
        token_proxy_client_id    my-key;
        token_proxy_fields       *;
    }
--- response_body_like eval
'"authorization":"".*"body":"grant_type=client_credentials&client_id=my-key"'



=== TEST 31: without Basic the user's Authorization header arrives
--- config
    location = /token {
        proxy_set_header         Authorization  "Bearer of-the-user";
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/echo;
        token_proxy_auth_method  client_secret_post;
        token_proxy_fields       *;
    }
--- response_body_like: "authorization":"Bearer of-the-user"



=== TEST 32: credentials from the environment
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_client_id      env:TOKEN_TEST_KEY;
        token_proxy_client_secret  env:TOKEN_TEST_SECRET;
        token_proxy_fields         *;
    }
--- secrets eval: "env-secret\n" . MIME::Base64::encode_base64('env-key:env-secret', '')
--- response_body_like eval
'"authorization":"Basic '
    . MIME::Base64::encode_base64('env-key:env-secret', '') . '"'



=== TEST 33: a secret from a file
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_client_id      my-key;
        token_proxy_client_secret  file:$TEST_NGINX_SECRET_FILE;
        token_proxy_fields         *;
    }
--- secrets
file-secret
--- response_body_like eval
'"authorization":"Basic '
    . MIME::Base64::encode_base64('my-key:file-secret', '') . '"'



=== TEST 34: credentials from variables, one pair for each tenant
--- http_config
    map $arg_tenant $tenant_secret {
        acme     acme-secret;
        default  other-secret;
    }
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/echo;
        token_proxy_client_id      "key-$arg_tenant";
        token_proxy_client_secret  $tenant_secret;
        token_proxy_fields         *;
    }
--- request eval: ['GET /token?tenant=acme', 'GET /token?tenant=b']
--- secrets eval
CORE::join "\n", qw(acme-secret other-secret),
    MIME::Base64::encode_base64('key-acme:acme-secret', '')
--- response_body_like eval
['"authorization":"Basic '
    . MIME::Base64::encode_base64('key-acme:acme-secret', '') . '"',
 '"authorization":"Basic '
    . MIME::Base64::encode_base64('key-b:other-secret', '') . '"']



=== TEST 35: a variable of a caller cannot put a newline into the credentials
--- config
    location ~ (?s)^/token/(?<tenant>.*)$ {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      "key-$tenant";
        token_proxy_client_secret  my-secret;
    }
--- request
GET /token/a%0d%0ab
--- error_code: 500
--- response_body chomp
{"error":"server_error","error_description":"The token request cannot be made."}
--- error_log
the value of "token_proxy_client_id" contains a newline
--- endpoint_calls: 0



=== TEST 36: a variable of a caller cannot move the colon of the Basic value
--- config
    location ~ (?s)^/token/(?<tenant>.*)$ {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      "key-$tenant";
        token_proxy_client_secret  my-secret;
    }
--- request
GET /token/a:b
--- error_code: 500
--- error_log
the value of "token_proxy_client_id" contains a colon
--- endpoint_calls: 0



=== TEST 37: an empty secret is not sent
--- config
    location = /token {
        token_proxy                on;
        token_proxy_endpoint       $TEST_NGINX_ENDPOINT/ok;
        token_proxy_client_id      my-key;
        token_proxy_client_secret  $arg_secret;
    }
--- error_code: 500
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- error_log
the value of "token_proxy_client_secret" is empty
--- endpoint_calls: 0



=== TEST 38: an endpoint with a variable in its path
--- config
    location ~ ^/token/(?<tenant>\w+)$ {
        token_proxy           on;
        token_proxy_endpoint  $TEST_NGINX_ENDPOINT/$tenant;
        token_proxy_fields    *;
    }
--- request
GET /token/echo?a=b
--- response_body_like: "uri":"/echo","protocol":"HTTP/1.1"



=== TEST 39: an endpoint that is a variable
--- http_config
    map $http_x_tenant $endpoint {
        strict   $TEST_NGINX_ENDPOINT/strict;
        default  $TEST_NGINX_ENDPOINT/401;
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $endpoint;
    }
--- request eval: ['GET /token', 'GET /token']
--- more_headers eval: ['X-Tenant: strict', '']
--- error_code eval: [200, 502]



=== TEST 40: a variable endpoint that names an upstream block
--- http_config
    upstream acme { server 127.0.0.1:$TEST_NGINX_ENDPOINT_PORT; }
--- config
    location ~ ^/token/(?<tenant>\w+)$ {
        token_proxy           on;
        token_proxy_endpoint  http://$tenant/echo;
        token_proxy_fields    *;
    }
--- request
GET /token/acme
--- response_body_like: "host":"acme"



=== TEST 41: a variable endpoint that is no URL
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $arg_url;
    }
--- request
GET /token?url=ftp://127.0.0.1/
--- error_code: 502
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body chomp
{"error":"server_error","error_description":"The token endpoint could not be reached."}
--- error_log
no "http://" or "https://" in "token_proxy_endpoint" "ftp://127.0.0.1/"



=== TEST 42: a variable endpoint that is empty
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $arg_url;
    }
--- error_code: 502
--- error_log
no "http://" or "https://" in "token_proxy_endpoint" ""



=== TEST 43: a connection is kept with keepalive in the upstream block
--- http_config
    upstream endpoint {
        server     127.0.0.1:$TEST_NGINX_ENDPOINT_PORT;
        keepalive  4;
    }
--- endpoint
    location = /nth {
        default_type  application/json;
        return        200 '{"access_token":"$connection_requests"}';
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://endpoint/nth;
    }
--- request eval: ['GET /token', 'GET /token', 'POST /token']
--- response_body eval
['{"access_token":"1"}', '{"access_token":"2"}', '{"access_token":"3"}']



=== TEST 44: a kept connection survives an error answer
--- http_config
    upstream endpoint {
        server     127.0.0.1:$TEST_NGINX_ENDPOINT_PORT;
        keepalive  4;
    }
--- endpoint
    location = /nth {
        default_type  application/json;
        if ($connection_requests != 2) {
            return    503 '{"error":"temporarily_unavailable"}';
        }
        return        200 '{"access_token":"$connection_requests"}';
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://endpoint/nth;
    }
--- request eval: ['GET /token', 'GET /token']
--- error_code eval: [503, 200]



=== TEST 45: HTTP/1.1 whatever the outer level sets
--- config
    proxy_http_version  1.0;

    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/oauth2/token;
    }
--- tcp_query eval: ::received('grant_type=client_credentials')



=== TEST 46: an endpoint behind a UNIX socket
--- http_config
    server {
        listen     unix:$TEST_NGINX_SERVROOT/endpoint.sock;
        error_log  logs/endpoint.log info;

        location = /oauth2/token {
            default_type  application/json;
            return        200 '{"access_token":"$http_host $request_uri"}';
        }
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://unix:$TEST_NGINX_SERVROOT/endpoint.sock:/oauth2/token;
    }
--- response_body chomp
{"access_token":"localhost /oauth2/token"}



=== TEST 47: an endpoint with an IPv6 address
--- http_config
    server {
        listen     [::1]:$TEST_NGINX_RAND_PORT_2;
        error_log  logs/endpoint.log info;

        location = /oauth2/token {
            default_type  application/json;
            return        200 '{"access_token":"$http_x_host $http_host"}';
        }
    }
--- config
    location = /token {
        proxy_set_header      X-Host  $host;
        proxy_set_header      Host    $http_host;
        token_proxy           on;
        token_proxy_endpoint  http://[::1]:$TEST_NGINX_RAND_PORT_2/oauth2/token;
    }
--- response_body_like: ^\{"access_token":"\[::1\] \[::1\]:\d+"\}$



=== TEST 48: without "keepalive" connections are kept from 1.29.7 on, by each location its own
--- http_config
    upstream endpoint { server 127.0.0.1:$TEST_NGINX_ENDPOINT_PORT; }
--- endpoint
    location = /nth {
        default_type  application/json;
        return        200 '{"access_token":"$connection_requests"}';
    }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://endpoint/nth;
    }

    location = /other {
        token_proxy           on;
        token_proxy_endpoint  http://endpoint/nth;
    }
--- request eval: ['GET /token', 'GET /token', 'GET /other', 'GET /other']
--- response_body eval
[map { qq({"access_token":"$_"}) }
    Token::Util::nginx_since('1.29.7') ? (1, 2, 1, 2) : (1, 1, 1, 1)]



=== TEST 49: a variable endpoint that ends within its scheme
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  $arg_url;
    }
--- request
GET /token?url=http:/
--- error_code: 502
--- error_log
no "http://" or "https://" in "token_proxy_endpoint" "http:/"
