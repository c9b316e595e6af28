# What nginx -t says about token_proxy_bearer and token_proxy_status.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 112;
use Token::Cache;
use Token::Server;

my $nginx = Token::Server->new;
my $token = location('token', 'http://127.0.0.1:1/');
my $pass = 'proxy_pass http://127.0.0.1:1;';

for (
    ["location / { token_proxy_bearer /none; $pass }",
        qr/names "\/none", but the server has no such location/],
    ["location /a { $pass } location / { token_proxy_bearer /a; $pass }",
        qr/names "\/a", but the server has no such location/],
    ["location / { token_proxy_bearer /token; token_proxy_bearer /token; $pass }",
        qr/"token_proxy_bearer" directive is duplicate/],
    ['location / { token_proxy_bearer ""; }', qr/needs the name of a token/],
    ["location / { token_proxy_bearer /token; proxy_set_header authorization x; $pass }",
        qr/"proxy_set_header" in location "\/" would replace the header "Auth/],
    ["location / { token_proxy_bearer /token; proxy_pass_request_headers off; $pass }",
        qr/"proxy_pass_request_headers off" in location "\/" would replace/],
    (map { ["location / { token_proxy_bearer /token; ${_}_param HTTP_AUTHORIZATION "
            . "\$http_authorization; ${_}_pass 127.0.0.1:1; }",
        qr/"${_}_param" in location "\/" would replace the header "Auth/] }
        qw(fastcgi uwsgi scgi)),
    (map { ["location / { token_proxy_bearer /token; ${_}_pass_request_headers "
            . "off; ${_}_pass 127.0.0.1:1; }",
        qr/"${_}_pass_request_headers off" in location/] }
        qw(fastcgi uwsgi scgi)),
    ["location / { token_proxy_bearer /token; token_proxy_bearer_header X-Tok; "
        . "fastcgi_param HTTP_X_TOK x if_not_empty; fastcgi_pass 127.0.0.1:1; }",
        qr/"fastcgi_param" in location "\/" would replace the header "X-Tok"/],
    ["location / { token_proxy_bearer /token; grpc_set_header authorization x; "
        . "grpc_pass 127.0.0.1:1; }",
        qr/"grpc_set_header" in location "\/" would replace the header/],
    ['location / { token_proxy_bearer /none; stub_status; }',
        qr/names "\/none", but the server has no such location/],
    ["location / { token_proxy_bearer /token; fastcgi_param HTTP_AUTHORIZATION x; "
        . "fastcgi_pass \$arg_a; }",
        qr/"fastcgi_param" in location/],
    ["location / { token_proxy_bearer_header 'a b'; }", qr/name of a header/],
    ["location / { token_proxy_bearer_header ''; }", qr/name of a header/],
    ["location / { token_proxy_bearer_header 'A[b'; }", qr/name of a header/],
    ["location / { token_proxy_bearer_header A B; token_proxy_bearer_header A; }",
        qr/is duplicate/],
    ["location / { token_proxy_bearer_header A '\xc3\xa9'; }", qr/scheme/],
    ["location / { token_proxy_bearer_header A 'b c'; }", qr/scheme/],
    (map { ["location / { token_proxy_bearer_header $_; }",
        qr/header is the connection's/] }
        qw(Host content-length Connection Transfer-Encoding)),
    (map { ["location / { token_proxy_bearer_retry $_; }",
        qr/takes on, off, or statuses from 400 to 499/] }
        '200', '500', 'x', 'on off', '401 off', '-1', '401 401x',
        'non_idempotent', 'off non_idempotent', 'non_idempotent on',
        'on non_idempotent non_idempotent', 'on 401 non_idempotent'),
    ["location / { token_proxy_bearer_retry 401 401; }", qr/twice/],
    ["location / { token_proxy_bearer_retry on; token_proxy_bearer_retry on; }",
        qr/is duplicate/],
    ["location / { $pass token_proxy_status; }",
        qr/cannot share a location with another content handler/],
) {
    my ($config, $message) = @$_;
    my ($status, $output) = $nginx->configure(http => zone(),
        server => $token . $config)->test;

    isnt($status, 0, $config);
    like($output, $message, '... is told why');
}

for (
    "location / { token_proxy_bearer /token; $pass }",
    "location / { token_proxy_bearer off; proxy_set_header Authorization x; $pass }",
    "location / { token_proxy_bearer /token; token_proxy_bearer_header X-A; "
        . "proxy_set_header Authorization x; $pass }",
    "fastcgi_param HTTP_AUTHORIZATION x; location / { token_proxy_bearer /token; $pass }",
    "location / { token_proxy_bearer /token; fastcgi_param HTTP_AUTHORIZATION2 x; "
        . "fastcgi_param REQUEST_METHOD GET; fastcgi_pass 127.0.0.1:1; }",
    'location / { token_proxy_bearer /none; }',
    'token_proxy_bearer /none; location /stub { stub_status; }',
    "location / { token_proxy_bearer /token; fastcgi_param HTTP_AUTHORIZATION x; "
        . "$pass }",
    'location / { token_proxy_bearer_retry 401 403; }',
    'location / { token_proxy_bearer_retry 401 403 non_idempotent; }',
    'location / { token_proxy_bearer_retry on non_idempotent; }',
    'location / { token_proxy_bearer_header X_Token; }',
    'location / { token_proxy_bearer_header X-Token ""; }',
    'token_proxy_bearer /token;',
) {
    my ($status, $output) = $nginx->configure(http => zone(),
        server => $token . $_)->test;

    is($status, 0, $_) or diag($output);
}

# what auth_request asks
for (
    ['location / { auth_request /auth; } location = /auth { token_proxy_bearer /token; PASS }', 1],
    ['location / { auth_request /auth?x=1; } location /auth { token_proxy_bearer /token; PASS }', 1],
    ['location = /auth { token_proxy_bearer /token; PASS } location / { auth_request /auth; PASS }', 1],
    ['auth_request /auth; location = /auth { token_proxy_bearer /token; auth_request off; PASS } location / { PASS }', 1],
    ['token_proxy_bearer /token; location / { auth_request /auth; PASS } location = /auth { PASS }', 0],
    ['location / { auth_request /auth; } location = /auth2 { token_proxy_bearer /token; PASS }', 0],
    ['location / { auth_request /auth; location /x { auth_request off; } } location = /x { token_proxy_bearer /token; PASS }', 0],
    ['location / { auth_request /auth; } location = /auth { token_proxy_bearer off; PASS }', 0],
) {
    my ($config, $warned) = @$_;
    my ($status, $output) = $nginx->configure(http => zone(),
        server => $token . $config =~ s/PASS/$pass/gr)->test;
    my @warnings = $output =~ /\[warn\] "token_proxy_bearer" in location "(.*?)", which "auth_request" asks, replaces the header "Authorization" of the client that is checked in \S+nginx\.conf:\d+$/mg;

    is($status, 0, $config) or diag($output);
    is_deeply(\@warnings, [$warned ? '/auth' : ()],
        $warned ? '... is warned of' : '... is not warned of');
}
