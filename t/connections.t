# A zone takes one of worker_connections in each worker: nginx -t and a reload
# say when there are too few, rather than workers that die at their start.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 20;
use Token::Cache;
use Token::Server;
use Token::Util qw(free_port wait_for);

my $nginx = Token::Server->new(log_level => 'info');
my $more = free_port();
my $message = qr/\[emerg\].* (\d+) worker_connections are not enough for (\d+) listening sockets and "token_proxy_cache_zone" "tokens"/;

# listening sockets, worker_connections, whether nginx says that they are enough
for ([1, 2, 0], [1, 3, 1], [2, 3, 0], [2, 4, 1]) {
    my ($sockets, $connections, $enough) = @$_;
    my @server = (server => $sockets == 2 ? "listen 127.0.0.1:$more;" : '',
        connections => $connections);

    my ($status, $said) = $nginx->configure(http => '', @server)->test;
    is($status, 0, "$connections connections, $sockets sockets: no zone")
        or diag($said);

    ($status, $said) = $nginx->configure(http => zone(), @server)->test;

    if ($enough) {
        is($status, 0, '... a zone: enough') or diag($said);

    } else {
        isnt($status, 0, '... a zone: too few');
        is(join(' ', $said =~ $message), "$connections $sockets",
            '... nginx -t says so');
    }
}

# what nginx -t takes is enough for a start; each worker has sockets of its own
for my $listen ('', 'reuseport') {
    $nginx->configure(http => zone(), server => '', connections => 3,
        listen => $listen, workers => 3);
    is(($nginx->test)[0], 0, "three workers $listen: nginx -t");
    $nginx->start;
    is(scalar(() = $nginx->workers), 3, '... they run');
    unlike($nginx->error_log, qr/worker_connections are not enough while|exited with (?:fatal )?code [1-9]/,
        '... all of them');
    $nginx->stop('QUIT');
}

# a reload that cannot be is none
$nginx->configure(connections => 64, listen => '', workers => 1, server =>
    'location /x { return 200 before; }')->start;

my @workers = $nginx->workers;

$nginx->configure(connections => 2, server => 'location /x { return 200 after; }');
kill HUP => $nginx->pid;
ok(wait_for { $nginx->error_log =~ $message }, 'a reload with too few');
is($nginx->get('/x')->{content}, 'before', '... changes nothing');
is_deeply([$nginx->workers], \@workers, '... the workers stay');

$nginx->configure(connections => 64)->reload;
is($nginx->get('/x')->{content}, 'after', 'a reload with enough');
$nginx->stop('QUIT');
