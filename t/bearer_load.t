# token_proxy_bearer with several workers: a thousand calls of an API that has
# revoked the token cost one call of the token endpoint.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 7;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port slurp wait_for);

if (`sh -c 'ulimit -n'` =~ /^(\d+)/ && $1 < 5000 && !$ENV{TOKEN_LIMIT}) {
    $ENV{TOKEN_LIMIT} = 1;
    exec '/bin/sh', '-c', 'ulimit -n 8192; exec "$@"', 'sh', $^X, $0, @ARGV;
}

my $endpoint = Token::Endpoint->new;
my $port = free_port();

# The API knows the tokens from the second one on; HELD has it answer late, so
# that all calls are under way with the first one.
my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport backlog=2048',
    connections => 8192,
    log_level => 'info',
    main => 'worker_rlimit_nofile 16384;',
    http => zone() . <<"END",
    map \$http_authorization \$known {
        default         1;
        "Bearer AT-1"   0;
    }

    server {
        listen      127.0.0.1:$port backlog=2048;
        access_log  \@DIR\@/logs/api.log;

        location / {
            auth_basic            api;
            auth_basic_user_file  /dev/null;
            auth_delay            1s;
            error_page            401 = \@api;
        }

        location \@api {
            if (\$known = 0) {
                return 401;
            }

            return 200 "\$http_authorization";
        }
    }
END
    server => location('token', $endpoint->url) . <<"END",
        location /api {
            token_proxy_bearer  /token;
            proxy_pass          http://127.0.0.1:$port;
        }

        location = /status { stub_status; access_log off; }
END
)->start;

is($nginx->get('/token')->{status}, 200, 'a token');
$endpoint->answer(delay => 0.2);

my $client = Token::Client->new($nginx->port);
$client->send('/api') for 1 .. 1000;
my @got = $client->receive(60);
my %content;
my %status;

$content{ $_->{content} // '' }++ for @got;
$status{ $_->{status} // '' }++ for @got;

is_deeply(\%status, { 200 => 1000 }, 'a thousand callers: all are answered');
is_deeply(\%content, { 'Bearer AT-2' => 1000 }, '... with the same new token');
is($endpoint->calls, 2, '... of one call');

my $calls = () = slurp($nginx->dir . '/logs/api.log') =~ / 401 /g;

cmp_ok($calls, '>', 1, '... though many were refused');
note("$calls requests were refused");

ok(wait_for { $nginx->get('/status')->{content} =~ /Active connections: 1\b/ },
    'no connection stays');

$nginx->stop('QUIT');
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\]|open socket/,
    'the log has no alert');
