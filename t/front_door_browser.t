#!/usr/bin/perl

# Token locations as the scripts of pages meet them, in headless Chromium
# (browser/front_door.js): what the browser allows, and what it blocks.

use strict;
use warnings;

use lib 't/lib';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port need_npm spew);

need_npm('playwright-core');
plan(tests => 37);

my $t = dirname(abs_path(__FILE__));
my $endpoint = Token::Endpoint->new;
my $busy = Token::Endpoint->new(status => 429);
my $down = Token::Endpoint->new(status => 500);
my ($app, $other, $count) = map { free_port() } 1 .. 3;

# Different names are different origins and sites of a browser, and *.localhost
# is this machine in every one.
my $allowed = "http://app.localhost:$app";

sub location {
    my ($path, $url, $lines) = @_;

    return <<"END";
        location = $path {
            token_proxy              on;
            token_proxy_endpoint     $url;
            $lines
        }
END
}

my $origin = "token_proxy_cors_origin $allowed;";

my $nginx = Token::Server->new(
    http => <<"END",
        token_proxy_client_id            my-key;
        token_proxy_client_secret        my-secret;
        token_proxy_cors_headers         Content-Type Authorization X-Client;
        token_proxy_cors_expose_headers  Retry-After;
        default_type                     text/html;
        limit_req_zone                   \$binary_remote_addr zone=one:1m rate=1r/m;

        server {
            listen  127.0.0.1:$app;
            location / { return 200 "a page"; }
        }

        server {
            listen  127.0.0.1:$other;
            location / { return 200 "another page"; }
        }
END
    server => join('',
        '        location = / { return 200 "the page of the same origin"; }',
        "\n",
        location('/token', $endpoint->url, $origin),
        location('/off', $endpoint->url, 'token_proxy_cors_origin off;'),
        location('/busy', $busy->url, $origin),
        location('/down', $down->url, $origin),
        location('/refused', $endpoint->url, "$origin deny all;"),
        location('/page', $endpoint->url,
            "$origin error_page 403 /error.json; deny all;"),
        location('/limited', $endpoint->url,
            "$origin limit_req zone=one; limit_req_status 429;"),
        location('/credentials', $endpoint->url, "$origin "
            . 'token_proxy_cors_credentials on;'),
        location('/any', $endpoint->url, 'token_proxy_cors_origin *;'),
        location('/null', $endpoint->url, 'token_proxy_cors_origin null;'),
        location('/basic', $endpoint->url, "$origin "
            . 'token_proxy_auth_basic tokens; '
            . 'token_proxy_auth_basic_user alice wonder;'),
        location('/htpasswd', $endpoint->url, "$origin "
            . 'auth_basic tokens; auth_basic_user_file @DIR@/users;'),
        <<'END'));
        location = /error.json {
            default_type  application/json;
            return        403 '{"error":"page"}';
        }
END

spew($nginx->dir . '/users', "alice:{PLAIN}wonder\n");
my $file = spew($nginx->dir . '/page.html', 'a page on disk');

$nginx->start;

# The browser's process asks for the count of calls over HTTP.
my $counter = fork // die "fork: $!";

if ($counter == 0) {
    my $listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$count",
        Listen => 5, ReuseAddr => 1) or die "counter: $!";

    while (my $client = $listen->accept) {
        1 while defined($_ = <$client>) && !/^\r?$/;
        my $calls = $endpoint->calls;
        print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $calls,
            "\r\nConnection: close\r\n\r\n$calls";
        close $client;
    }

    POSIX::_exit(0);
}

open my $browser, '-|', 'node', "$t/browser/front_door.js", $allowed,
    "http://other.localhost:$other", "http://token.localhost:$nginx->{port}",
    "http://127.0.0.1:$count/", $file or die "node: $!";

while (<$browser>) {
    if (/^(not )?ok - (.*)/) { ok(!$1, $2) } else { diag($_) }
}

ok(close $browser, 'the browser went through');

kill KILL => $counter;
waitpid $counter, 0;

$nginx->stop;
