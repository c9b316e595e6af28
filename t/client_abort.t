# A caller who leaves while the endpoint is slow.

use strict;
use warnings;

use lib 't/lib';
use Test::More tests => 44;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(settled slurp wait_for);

my $endpoint = Token::Endpoint->new(delay => 3);
my $url = $endpoint->url;
my $nginx = Token::Server->new(
    http => <<"END",
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    log_format  short  '\$request_uri \$status [\$token_proxy_upstream_status]';

    upstream kept {
        server     127.0.0.1:@{[$endpoint->port]};
        keepalive  8;
    }
END
    server => <<"END");
        access_log  logs/short.log  short;

        location = /token {
            token_proxy           on;
            token_proxy_endpoint  $url;
        }

        location = /kept {
            token_proxy           on;
            token_proxy_endpoint  http://kept/token;
        }

        location = /ignored {
            token_proxy               on;
            token_proxy_endpoint      $url;
            proxy_ignore_client_abort on;
        }

        location = /page {
            ssi        on;
            ssi_types  *;
            root       html;
        }

        location = /mirrored {
            mirror  /token;
            stub_status;
        }

        location = /then {
            post_action  /report;
            return       200  here;
        }

        location = /report {
            token_proxy_bearer  /token;
            proxy_pass          $url/report;
        }

        location = /status {
            access_log  off;
            stub_status;
        }
END

$nginx->start;

my ($worker) = $nginx->workers;

sub soon {
    my ($condition, $seconds) = @_;

    return wait_for { $condition->() } $seconds // 5;
}


# Connections of the worker, but for the one that asks.
sub active {
    my ($active) = $nginx->get('/status', Connection => 'close')->{content}
        =~ /Active connections: (\d+)/;

    return $active - 1;
}


# Sockets of the worker; its listening socket and such are always there.
sub sockets {
    return scalar grep { (readlink // '') =~ /^socket:/ } glob "/proc/$worker/fd/*";
}


sub logged {
    my ($line) = @_;

    return soon(sub { slurp($nginx->dir . '/logs/short.log') =~ /^\Q$line\E$/m });
}


sub ask {
    my ($path, @headers) = @_;
    my $socket = $nginx->connect;

    $socket->autoflush(1);
    print $socket join "\r\n", "GET $path HTTP/1.1", 'Host: a', @headers, '', '';
    return $socket;
}

$nginx->get('/status', Connection => 'close');
my $before = settled { sockets() };

for my $path ('/token', '/kept') {
    $endpoint->reset;

    my $socket = ask($path);

    ok(soon(sub { $endpoint->calls == 1 }), "$path: the endpoint is asked");
    close $socket;
    ok(logged("$path 499 [-]"), "$path: 499 in the access log");
    is(active(), 0, "$path: the connection is gone");
    ok(soon(sub { sockets() == $before }, 2), "$path: so is that to the endpoint");
}

# What is done after an answer needs no client any more.
{
    $endpoint->reset;

    my $socket = ask('/then');

    like(scalar <$socket>, qr/ 200 /, '/then: the answer comes first');
    close $socket;
    ok(soon(sub { $endpoint->calls == 2 }), '/then: then the token is got, and the API called');
    ok(soon(sub { active() == 0 }), '/then: the connection is gone');
}

# Many of them, in the middle of others who stay.
{
    $endpoint->reset;

    my @leaving = map { ask("/token?$_") } 1 .. 50;
    my @staying = map { ask('/token', 'Connection: close') } 1 .. 10;

    ok(soon(sub { $endpoint->calls == 60 }), 'many: the endpoint is asked');
    close $_ for @leaving;

    for my $socket (@staying) {
        my $answer = join '', <$socket>;

        like($answer, qr/^HTTP\/1.1 200 .*"access_token":"AT-\d+"/s, 'many: one who stays gets a token');
    }

    ok(logged("/token?$_ 499 [-]"), "many: 499 for number $_") for 1, 25, 50;
    ok(soon(sub { active() == 0 }), 'many: no connection is left');
    ok(soon(sub { sockets() == $before }), 'many: no socket is left');
}

# The answer comes when nobody is there any more.
{
    $endpoint->reset;

    my $socket = ask('/ignored');

    ok(soon(sub { $endpoint->calls == 1 }), 'proxy_ignore_client_abort: the endpoint is asked');
    close $socket;
    ok(soon(sub { active() == 0 }, 10), 'proxy_ignore_client_abort: no connection is left');
    ok(soon(sub { sockets() == $before }), 'proxy_ignore_client_abort: no socket is left');
    ok(logged('/ignored 200 [200]'), 'proxy_ignore_client_abort: the call went to its end');
}

# One direction closed is not a caller who left: nginx takes it for one.
{
    my $socket = ask('/token?half');

    shutdown $socket, 1;
    ok(logged('/token?half 499 [-]'), 'half closed: 499');
}

# In the middle of a page with more than one.
{
    open my $page, '>', $nginx->dir . '/html/page' or die;
    print $page '<!--#include virtual="/token" --><!--#include virtual="/kept" -->';
    close $page;

    # the call of the one before may have been on its way
    settled { $endpoint->calls };
    $endpoint->reset;

    my $socket = ask('/page');

    ok(soon(sub { $endpoint->calls == 2 }), 'SSI: the endpoint is asked twice');
    close $socket;
    ok(soon(sub { active() == 0 }), 'SSI: no connection is left');
    ok(soon(sub { sockets() == $before }, 10), 'SSI: no socket is left')
        or diag(sockets(), " $before");

    $socket = ask('/page', 'Connection: close');
    my $answer = join '', <$socket>;
    is(() = $answer =~ /"access_token"/g, 2, 'SSI: who stays gets both');
}

# A mirrored request whose caller leaves.
{
    $endpoint->reset;
    my $socket = ask('/mirrored');

    ok(soon(sub { $endpoint->calls == 1 }), 'mirror: the endpoint is asked');
    close $socket;
    ok(soon(sub { active() == 0 }, 10), 'mirror: no connection is left');
}

# A stop while the endpoint is slow.
{
    $endpoint->reset;
    my $socket = ask('/token?last', 'Connection: close');

    ok(soon(sub { $endpoint->calls == 1 }), 'reload: the endpoint is asked');
    $nginx->reload;
    like(join('', <$socket>), qr/"access_token"/, 'reload: the old worker answers');
    ok(soon(sub { !kill 0, $worker }, 10), 'reload: and ends');
}

is($nginx->get('/token')->{status}, 200, 'nginx goes on');
unlike($nginx->error_log, qr/\[alert\]|\[emerg\]|\[crit\]|open socket/, 'nothing alarming in the log');
unlike($nginx->error_log, qr/exited on signal/, 'no worker has died');
