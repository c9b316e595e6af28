# Several workers, one cache: one call of the endpoint for all of them, whoever
# leaves, waits too long, or is killed.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 61;
use List::Util qw(max min);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(slurp slurp_or_empty wait_for);

# A thousand connections need as many descriptors, and some more.
if (`sh -c 'ulimit -n'` =~ /^(\d+)/ && $1 < 2000 && !$ENV{TOKEN_LIMIT}) {
    $ENV{TOKEN_LIMIT} = 1;
    exec '/bin/sh', '-c', 'ulimit -S -n 4096; exec "$@"', 'sh', $^X, $0, @ARGV;
}

my $endpoint = Token::Endpoint->new;

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport backlog=2048',    # about as many for each worker
    connections => 4096,
    log_level => 'info',
    main => 'worker_rlimit_nofile 4096;',
    http => zone() . 'token_proxy_cache_zone zone=big:32m;',
    server => join('',
        location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
        location('news', $endpoint->url, 'token_proxy_cache_key "news$arg_key"'),
        location('timeout', $endpoint->url, 'token_proxy_cache_key timeout',
            'proxy_read_timeout 2s'),
        location('impatient', $endpoint->url,
            'token_proxy_cache_key "impatient$arg_key"',
            'token_proxy_lock_timeout 1s'),
        location('late', $endpoint->url, 'token_proxy_cache_key "late$arg_key"'),
        location('big', $endpoint->url, 'token_proxy_cache big',
            'token_proxy_max_response_size 10m'),
        location('beside', $endpoint->url, 'token_proxy_cache big',
            'token_proxy_cache_key beside'),
        'location = /status { stub_status; access_log off; }',
        'location = /token_status { token_proxy_status; access_log off; }',
    ),
)->start;


# a thousand, and no token yet
{
    $endpoint->answer(delay => 1);

    my @got = together(1000, '/token?key=cold');
    my %status = count(map { status($_) // '' } @got);
    my %pids = count(map { $_->{headers}{'x-pid'} // '' } @got);
    my @received = sort { $a <=> $b } map { $_->{received} // 0 } @got;

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 1000,
        '1000 callers, 2 workers: all are answered');
    is_deeply({ count(map { token($_) // '' } @got) }, { 'AT-1' => 1000 },
        '... with the same token');
    is($endpoint->calls, 1, '... of one call');
    is($status{MISS}, 1, '... which is one caller\'s miss');
    is(scalar(keys %pids), 2, '... by both workers');
    is(($status{WAIT} // 0) + ($status{HIT} // 0), 999, '... others wait');

    note(join ', ', map { "$_: $status{$_}" } sort keys %status);
    note(sprintf 'all answered within %.0f ms',
        1000 * ($received[-1] - $received[0]));
}


# The other worker hears of it. Who was not told would look when the lease ends,
# after 2 s, in each round.
{
    my @late;

    $endpoint->answer(delay => 0.2);

    for my $round (1 .. 7) {
        my @got = together(12, "/news?key=$round");
        my %first;

        for (@got) {
            my $pid = $_->{headers}{'x-pid'} // next;
            $first{$pid} = min($_->{received}, $first{$pid} // $_->{received});
        }

        push @late, max(values %first) - min(values %first) if keys %first > 1;
    }

    @late = sort { $a <=> $b } @late;

    cmp_ok(scalar(@late), '>', 1, 'both workers have callers that wait');
    cmp_ok($late[$#late / 2] // 99, '<', 1.2,
        '... which are answered when the call has ended');

    note(sprintf 'the other worker was later by %s ms',
        join ', ', map { sprintf '%.1f', 1000 * $_ } @late);
}


# the first caller leaves
{
    $endpoint->reset;
    $endpoint->answer(delay => 0.4);

    my $client = Token::Client->new($nginx->port);
    my $first = $client->send('/token?key=left');

    wait_for { $endpoint->calls } or diag('no call');
    $client->send('/token?key=left') for 1 .. 6;
    $client->leave($first);

    my @got = $client->receive(5);

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 6,
        'the first caller leaves: the others are answered');
    is($endpoint->calls, 1, '... without another call');

    $client->leave($client->send('/token?key=alone'));
    ok(wait_for { status($nginx->get('/token?key=alone')) =~ /HIT|WAIT/ },
        'the only caller leaves: its token is kept');
    is($endpoint->calls, 2, '... without another call');
}


# those who wait leave
{
    $endpoint->reset;
    $endpoint->answer(delay => 4);

    my $before = fds();
    my $client = Token::Client->new($nginx->port);
    my @waiting = map { $client->send('/token?key=gone') } 1 .. 50;

    ok((wait_for { $endpoint->calls && active() >= 50 }), 'fifty wait');
    $client->leave($_) for @waiting;

    ok(wait_for { active() <= 2 }, 'they leave, and do so at once')
        or diag(active());
    is($endpoint->calls, 1, '... the call goes on');
    is(token($nginx->get('/token?key=gone')), 'AT-1', '... and is of use');
    is($endpoint->calls, 1, '... to the next one');

    ok(wait_for { active() == 1 && fds() <= $before },
        'no connection and no descriptor stays') or diag(fds(), " $before");
}


# those who wait too long
{
    $endpoint->reset;
    $endpoint->answer(delay => 4);

    my $start = time;
    my @got = together(8, '/impatient');
    my @took = map { $_->{received} - $_->{sent} } @got;

    is_deeply({ count(map { $_->{status} } @got) }, { 504 => 8 },
        'token_proxy_lock_timeout: 504');
    like($got[0]{content}, qr/did not answer in time/, '... with the reason');
    cmp_ok(min(@took), '>', 0.98, '... not before its time');
    cmp_ok(max(@took), '<', 3, '... and not when the call ends');

    sleep max(0, 4 - (time - $start));

    ok((wait_for { status($nginx->get('/impatient')) eq 'HIT' }),
        'the call goes on, and is kept');
    is($endpoint->calls, 1, '... and is the only one');
}


# longer than a lease: who fetches is alive, nobody takes over
{
    $endpoint->reset;
    $endpoint->answer(delay => 8);

    my @got = together(20, '/token?key=slow', 15);
    my %pids = count(map { $_->{headers}{'x-pid'} // '' } @got);

    is_deeply({ count(map { token($_) // $_->{status} // '' } @got) },
        { 'AT-1' => 20 }, 'a call that takes 8 s is waited for');
    is(scalar(keys %pids), 2, '... in both workers');
    is($endpoint->calls, 1, '... and not made twice');
}


# longer than its own timeout: that ends the waiting, for all
{
    $endpoint->reset;
    $endpoint->answer(delay => 30);

    my @got = together(20, '/timeout');
    my %pids = count(map { $_->{headers}{'x-pid'} // '' } @got);

    is_deeply({ count(map { $_->{status} // '' } @got) }, { 504 => 20 },
        'proxy_read_timeout ends a call: 504');
    is(scalar(keys %pids), 2, '... for callers of both workers');
    is($endpoint->calls, 1, '... of one call');
    like($nginx->error_log, qr/upstream timed out/, '... which the log says');
}


# The worker that fetches is held up for longer than its lease, and another one
# has got a token when it goes on: whatever the first one has got is late.
for my $case (['an older token' => {}], ['a failure' => { status => 500 }]) {
    my ($what, $answer) = @$case;
    my $path = '/late?key=' . ($answer->{status} // 200);

    $endpoint->reset;
    $endpoint->answer();
    $endpoint->next({ %$answer, delay => 2 });

    my $client = Token::Client->new($nginx->port);

    $client->send($path) for 1 .. 20;
    wait_for { $endpoint->calls } or diag('no call');

    my $pid = fetcher();

    kill STOP => $pid;
    ok((wait_for { $endpoint->calls == 2 } 10), "$what comes late: another call");
    sleep 0.1;
    kill CONT => $pid;

    my @got = $client->receive(5);
    my %pids = map { ($_->{headers}{'x-pid'} // 0) => 1 } @got;

    ok($pids{$pid} && keys %pids == 2, '... callers of both workers');
    is_deeply({ count(map { token($_) // $_->{status} // '' } @got) },
        { 'AT-2' => 20 }, '... get the token of the second call');
    is_deeply({ count(map { token($nginx->get($path)) // '' } 1 .. 20) },
        { 'AT-2' => 20 }, '... which stays');
    like($nginx->get('/token_status')->{content}, qr/"backoff_entries":0\b/,
        '... and there is no backoff');
    is($endpoint->calls, 2, '... nor a third call');
}


# the worker that fetches is killed
{
    $endpoint->reset;
    $endpoint->answer();
    $endpoint->next({ delay => 10 });

    my $client = Token::Client->new($nginx->port);

    $client->send('/token?key=killed') for 1 .. 16;
    wait_for { $endpoint->calls };
    sleep 0.1;

    my $pid = fetcher();
    my $killed = time;

    ok($pid, 'the worker that fetches');
    kill KILL => $pid;

    my @got = $client->receive(6);
    my @answered = grep { $_->{status} } @got;

    cmp_ok(scalar(@answered), '>', 0, 'killed: the other worker\'s are answered');
    is_deeply({ count(map { token($_) // '' } @answered) },
        { 'AT-2' => scalar @answered }, '... with one token');
    is($endpoint->calls, 2, '... of one more call');

    # a lease is 2 s
    my $took = max(map { $_->{received} } @answered) - $killed;
    cmp_ok($took, '<', 4, '... when the lease ends');
    note(sprintf 'another worker took over after %.0f ms', 1000 * $took);

    is(status($nginx->get('/token?key=killed')), 'HIT', 'the token is kept');
}


# workers are killed while they have work
{
    my $before = errors();

    wait_for { $nginx->workers == 2 };
    $endpoint->answer(expires_in => 1, delay => 0.05);

    my $load = Token::Client->load($nginx->port, '/token?key=random',
        processes => 4);
    my $kills = 0;

    while ($kills < 16) {
        my @workers = $nginx->workers;

        $kills += kill KILL => $workers[rand @workers] if @workers;

        # under valgrind a worker needs longer to start than the next lives
        wait_for { $nginx->get('/token?key=random')->{status} == 200 };
        sleep 0.1 + rand 0.2;
    }

    my $result = $load->stop;

    wait_for { $nginx->workers == 2 };

    my @got = together(20, '/token?key=random');

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 20,
        "after $kills killed workers, nobody waits for ever");
    is_deeply([grep { !/^(?:closed|cut off|no connection)/ }
        keys %{ $result->{why} }], [], '... nobody had to') or diag(explain $result->{why});
    cmp_ok($result->{requests} - $result->{failed}, '>', $result->{failed},
        'most were answered');
    note("$result->{requests} requests, $result->{failed} failed");
    # the last one is valgrind's
    is_deeply([grep { !/a worker died while it changed|exited on signal 9|was locked by|setrlimit/ }
        errors() ], [], 'the log has the kills, and nothing else');
}


# a worker is killed while it holds the lock
{
    # a token that takes long to copy
    $endpoint->answer(body => '{"access_token":"' . 'x' x 8_000_000
        . '","expires_in":600}');
    is($nginx->get('/big')->{status}, 200, 'a token of 8 MB');

    $endpoint->answer();

    # each worker has looked this one up, and has a copy
    my ($before) = map { token($nginx->get('/beside')) } 1 .. 40;

    my $load = Token::Client->load($nginx->port, '/big', method => 'HEAD',
        processes => 3, seconds => 120);
    my ($pid, $tries) = kill_holder(90);
    my $start = time;

    ok($pid, 'the worker that holds the lock');
    note("found at try $tries");

    my @got = together(10, '/beside', 10);
    my $took = time - $start;
    my $result = $load->stop;

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 10,
        'killed with the lock: the others go on');
    cmp_ok($took, '<', 4, '... at once');
    ok(wait_for { $nginx->error_log =~
        /\[alert\].*a worker died while it changed a token cache, which is emptied/ },
        '... and the log tells');
    another($nginx->get('/beside'), $before,
        '... no worker serves what it has of the zone before');
    is_deeply([grep { !/^(?:closed|cut off)/ } keys %{ $result->{why} }], [],
        'only those of that worker lost their connection')
        or diag(explain $result->{why});
}

$nginx->stop('QUIT');
unlike($nginx->error_log, qr/open socket|exited on signal (?!9)|alert.*leak/,
    'workers leave without a trace');


# So many requests at once.
sub together {
    my ($number, $path, $seconds) = @_;
    my $client = Token::Client->new($nginx->port);

    $client->send($path) for 1 .. $number;
    return $client->receive($seconds // 8);
}


sub count {
    my %count;

    $count{$_}++ for @_;
    return %count;
}


sub active {
    return $nginx->get('/status')->{content} =~ /Active connections: (\d+)/
        ? $1 : -1;
}


sub fds {
    my $number = 0;

    for my $pid ($nginx->workers) {
        my @fds = glob "/proc/$pid/fd/*";
        $number += @fds;
    }

    return $number;
}


sub errors {
    return $nginx->error_log =~ /^.*\[(?:crit|alert|emerg)\].*$/mg;
}


# The worker that has a connection to the endpoint.
sub fetcher {
    my $port = sprintf '%04X', $endpoint->port;
    my %inodes;

    for (split /\n/, slurp('/proc/net/tcp')) {
        my @field = split ' ';
        $inodes{"socket:[$field[9]]"} = 1
            if $field[2] =~ /:$port$/ && $field[3] eq '01';
    }

    for my $pid ($nginx->workers) {
        return $pid if grep { $inodes{ readlink($_) // '' } }
            glob "/proc/$pid/fd/*";
    }

    return;
}


# Watches the zone's lock, its first word, which holds the pid of who has it.
# That one is stopped, and killed if it has not let go until then.
sub kill_holder {
    my ($seconds) = @_;
    my $end = time + $seconds;
    my ($witness) = $nginx->workers;
    my ($zone) = grep { length $_->[1] == 32 << 20 }
        eval { shared_memory($witness) };
    my $tries = 0;

    return (undef, 0) unless $zone;
    open my $mem, '<:raw', "/proc/$witness/mem" or return (undef, 0);

    my $holder = sub {
        sysseek $mem, $zone->[0], 0;
        sysread $mem, my $lock, 8;
        return unpack 'q', $lock;
    };

    while (time < $end) {
        my $pid = $holder->() or next;

        $tries++;
        kill STOP => $pid;

        my $stopped = time + 0.5;
        1 until slurp_or_empty("/proc/$pid/stat") =~ /\) T / || time > $stopped;

        if ($holder->() == $pid) {
            kill KILL => $pid;
            return ($pid, $tries);
        }

        kill CONT => $pid;
        sleep 0.001;
    }

    return (undef, $tries);
}
