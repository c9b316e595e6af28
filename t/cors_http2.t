# Cross-origin requests and the Basic check over HTTP/2, in clear and with
# TLS, where the host of a request is no header.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Cert;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($NGINX free_port work_dir);

my $version = `$NGINX -V 2>&1`;

plan(skip_all => 'nginx has no HTTP/2') if $version !~ /--with-http_v2_module/;
plan(skip_all => 'curl has no HTTP/2') if `curl -V` !~ /\bHTTP2\b/;
plan(tests => 30);

my ($major, $minor, $patch) = $version =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
my $new = sprintf('%d%03d%03d', $major, $minor, $patch) >= 1025001;
my ($port, $tls) = (free_port(), free_port());
my $cert = Token::Cert->authority(work_dir(), 'localhost');
my $endpoint = Token::Endpoint->new;

my $listen = $new
    ? "listen 127.0.0.1:$port; listen 127.0.0.1:$tls ssl; http2 on;"
    : "listen 127.0.0.1:$port http2; listen 127.0.0.1:$tls ssl http2;";

my $nginx = Token::Server->new(
    http => <<'END',
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
END
    server => <<"END");
        $listen
        ssl_certificate      @{[$cert->file]};
        ssl_certificate_key  @{[$cert->key]};

        location = /token {
            token_proxy              on;
            token_proxy_endpoint     @{[$endpoint->url]};
            token_proxy_cors_origin  https://app.example.com;
        }

        location = /basic {
            token_proxy                  on;
            token_proxy_endpoint         @{[$endpoint->url]};
            token_proxy_cors_origin      https://app.example.com;
            token_proxy_auth_basic       tokens;
            token_proxy_auth_basic_user  alice wonder;
        }
END

$nginx->start;


# status, headers and body of a request
sub ask {
    my ($url, $origin, @more) = @_;
    my $args = join ' ', map { "'$_'" } '-s', '-i', '-k', '--max-time', 10,
        ($url =~ /^https/ ? '--http2' : '--http2-prior-knowledge'),
        ($origin ? ('-H', "Origin: $origin") : ()), @more, $url;
    my ($head, $body) = split /\r\n\r\n/, `curl $args`, 2;
    my ($status) = ($head // '') =~ m{^HTTP/2 (\d+)};

    return ($status // 0, { map { /^([^:]+): (.*)/ ? ($1, $2) : () }
        split /\r\n/, $head // '' }, $body // '');
}


sub allowed {
    my ($name, @args) = @_;
    my ($status, $headers) = ask(@args);

    is($status, 200, $name);
    is($headers->{'access-control-allow-origin'}, $args[1], "$name: told so");
    is($headers->{vary}, 'Origin', "$name: Vary");
}


sub denied {
    my ($name, @args) = @_;
    my $calls = $endpoint->calls;
    my ($status, $headers) = ask(@args);

    is($status, 403, $name);
    is($headers->{'access-control-allow-origin'}, undef, "$name: not told so");
    is($endpoint->calls, $calls, "$name: no call");
}


my ($clear, $secure) = ("http://localhost:$port", "https://localhost:$tls");

allowed('a listed origin', "$clear/token", 'https://app.example.com');
denied('another origin', "$clear/token", 'https://evil.test');
allowed('the own origin', "$clear/token", $clear);
denied('the own host with TLS', "$clear/token", "https://localhost:$port");
allowed('the own origin with TLS', "$secure/token", $secure);
denied('the own host without TLS', "$secure/token", "http://localhost:$tls");
denied('two origins', "$clear/token", 'https://app.example.com', '-H',
    'Origin: https://app.example.com');

my ($status, $headers) = ask("$secure/basic", 'https://app.example.com', '-X',
    'OPTIONS', '-H', 'Access-Control-Request-Method: POST', '-H',
    'Access-Control-Request-Headers: authorization');

is($status, 204, 'a preflight before the Basic check');
like($headers->{'access-control-allow-headers'}, qr/Authorization/,
    'a preflight: headers');
is($headers->{'content-type'}, undef, 'a preflight: no type');

($status, $headers, my $body) = ask("$secure/basic", 'https://app.example.com');

is($status, 401, 'no password');
is($headers->{'www-authenticate'}, 'Basic realm="tokens", charset="UTF-8"',
    'no password: challenge');
is($headers->{'content-length'}, length $body, 'no password: length');
like($body, qr/^\{"error":"access_denied",/, 'no password: JSON');
is((ask("$secure/basic", undef, '-u', 'alice:wonder'))[0], 200, 'a password');
is((ask("$secure/basic", undef, '-u', 'alice:no'))[0], 401, 'a wrong one');

$nginx->stop;
