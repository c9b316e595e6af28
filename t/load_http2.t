# Many callers at once who send bodies over HTTP/2, by h2load: each is answered.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Echo;
use Token::Server;
use Token::Util qw($NGINX free_port nginx_since settled spew wait_for);

plan(skip_all => 'nginx has no HTTP/2')
    if `$NGINX -V 2>&1` !~ /--with-http_v2_module/;
plan(skip_all => 'there is no h2load (nghttp2-client)')
    if system 'command -v h2load > /dev/null';
plan(tests => 21);

my $echo = Token::Echo->new;
my $port = free_port();
my ($listen, $on) = nginx_since('1.25.1') ? ('', 'http2 on;') : (' http2', '');
my $token = 'token_proxy on; token_proxy_endpoint ' . $echo->url('/token') . ';';

my $nginx = Token::Server->new(
    workers => 2, log_level => 'info', connections => 4096,
    http => <<"END",
    access_log  off;
    keepalive_requests         1000000;
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    server {
        listen  127.0.0.1:$port$listen;
        $on
        location = /uncached { $token }
        location = /cached { $token token_proxy_cache tokens; }
        location = /api {
            token_proxy_bearer  /cached;
            proxy_pass          @{[$echo->url('')]};
        }
    }
END
    server => 'location = /connections { stub_status; }');

sub connections {
    my ($active) = $nginx->get('/connections', Connection => 'close')->{content}
        =~ /Active connections: (\d+)/;
    return $active;
}

sub sockets {
    return scalar grep { (readlink // '') =~ /^socket:/ }
        map { glob "/proc/$_/fd/*" } $nginx->workers;
}

$nginx->start;
connections();

my @workers = $nginx->workers;
my $before = settled { sockets() };

# Bodies that are less and more than a stream's window.
for my $size (100, 100_000) {
    my $body = spew($nginx->dir . "/body$size", 'x' x $size);

    for my $load (['/cached', 5000], ['/uncached', 1000], ['/api', 500]) {
        my ($path, $requests) = @$load;
        $requests /= 5 if $size > 1000;

        my $name = "$path, $requests bodies of $size bytes";
        my $out = `timeout 60 h2load -n $requests -c 20 -m 20 -d '$body' 'http://127.0.0.1:$port$path' 2>&1`;

        like($out, qr/, $requests succeeded, 0 failed, 0 errored, 0 timeout$/m,
            "$name: all are done") or diag($out);
        like($out, qr/^status codes: $requests 2xx,/m, "$name: all are right");
        ok((wait_for { connections() == 1 }), "$name: no connection is left");
    }
}

is_deeply([$nginx->workers], \@workers, 'no worker has died');
is((settled { sockets() }), $before, 'no socket is left');
$nginx->stop('QUIT');
is(join("\n", grep { /\[(?:alert|crit|emerg)\]|open socket|exited on signal/ }
    split /\n/, $nginx->error_log), '', 'nothing alarming in the log');
