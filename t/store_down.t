# The store is never a reason for an error: it is killed, frozen, emptied, full.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 51;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(wait_for);

my $DOWN = qr/token store .* is not used for now/;
my $UP = qr/token store .* is used again/;

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;
my $locations = join '', location('token', $endpoint->url,
    'token_proxy_cache_key "$arg_key"');

# With limits that no delay of this machine is taken for.
my $fleet = Token::Fleet->new(
    machines => 2, workers => 1,
    store => $store->url . ' connect_timeout=2s timeout=2s',
    server => $locations,
)->start;


# Machine 0 uses the store: it has a token that machine 1 has fetched.
sub shared {
    my ($key) = @_;
    my $token = token($fleet->get(1, "/token?key=$key"));

    return defined $token && $token eq (token($fleet->get(0, "/token?key=$key")) // '');
}


ok(shared('first'), 'two machines share a token');


# it is frozen
{
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;

    $store->freeze;

    my @got;
    my $start = time;

    push @got, $fleet->get(0, '/token?key=frozen');
    my $first = time - $start;

    push @got, $fleet->get(0, "/token?key=frozen$_") for 1 .. 20;
    my $others = time - $start - $first;

    is(scalar(unanswered(@got)), 0, 'a frozen store: callers have a token each');
    cmp_ok($first, '>', 1.9, '... the first one waits for the store');
    cmp_ok($first, '<', 4, '... as long as it may take');
    cmp_ok($others, '<', 2, '... and no other one does');

    is($fleet->get(0, '/token?key=first')->{status}, 200, '... a hit is a hit');
    is(scalar(() = $fleet->said($DOWN)) - $before[0], 1, '... one line in the log');

    # many at once, at the other machine
    my $client = Token::Client->new(($fleet->machines)[1]->port);

    $start = time;
    $client->send("/token?key=many$_") for 1 .. 30;
    @got = $client->receive(10);

    is(scalar(unanswered(@got)), 0, '... thirty at once: all are answered');
    cmp_ok(time - $start, '<', 4, '... within one time of waiting');

    $store->thaw;

    ok((wait_for { shared('thaw' . rand) } 10), 'it goes on: it is used again');
    ok((wait_for { ($fleet->said($UP)) - $before[1] == 2 } 5),
        '... one line in the log of each machine');
}


# it is killed
{
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;
    my $start = time;

    $store->kill;

    my @got = map { $fleet->get($_ % 2, "/token?key=killed$_") } 1 .. 40;

    is(scalar(unanswered(@got)), 0, 'a store that was killed: callers have a token each');
    cmp_ok(time - $start, '<', 4, '... soon');
    cmp_ok(scalar(() = $fleet->said($DOWN)) - $before[0], '<=', 2,
        '... one line in the log of each machine');

    $store->empty->start;

    ok((wait_for { shared('empty' . rand) } 10), 'it is back, and empty: it is used again');
    is($fleet->get(0, '/token?key=killed1')->{status}, 200, '... what was cached still is');
    is(scalar(() = $fleet->said($UP)) - $before[1],
        scalar(() = $fleet->said($DOWN)) - $before[0], '... lines in the log');
}


# with what it had
{
    my $calls = $endpoint->calls;
    my $token = token($fleet->get(1, '/token?key=kept'));

    $store->command('SAVE');
    $store->kill;
    $store->start;

    my $got = token($fleet->get(0, '/token?key=other'));

    # by then the machine has found it
    wait_for { shared('full' . rand) } 10;
    is(token($fleet->get(0, '/token?key=kept')), $token,
        'it is back with what it had: a token of before is used');
    ok(defined $got, '... whatever else was asked for');
}


# lines of an idle connection
{
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;

    $store->kill;
    $store->start;
    ok((wait_for { $store->clients >= 2 } 10), 'a restart while nobody asks: connected again');
    ok(shared('idle'), '... the next callers share a token');
    is(scalar(() = $fleet->said($DOWN)) - $before[0], 0, '... and nothing is logged');
}


# all of it is lost, again and again, while it is used
{
    $endpoint->answer(expires_in => 2, delay => 0.05);

    my $load = $fleet->load('/token?key=flush');
    my $end = time + 2.5;

    while (time < $end) {
        $store->command('FLUSHALL');
        $store->command('SCRIPT', 'FLUSH');
        sleep 0.1;
    }

    my $result = $load->();

    cmp_ok($result->{requests}, '>', 100, 'FLUSHALL under load');
    is($result->{failed}, 0, '... nobody fails') or diag(explain($result->{why}));
    ok(shared('flushed'), '... it is used still');
    $endpoint->answer;
}


# it is full, and drops what was not used for long
{
    my $used = $store->info('memory')->{used_memory};
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;

    $store->command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    $store->command('CONFIG', 'SET', 'maxmemory', $used + 100_000);
    $endpoint->answer(members => { more => 'x' x 4000 });

    my @got = map { $fleet->get($_ % 2, "/token?key=full$_") } 1 .. 100;

    is(scalar(unanswered(@got)), 0, 'more tokens than the store has room for');
    cmp_ok($store->info('stats')->{evicted_keys}, '>', 10, '... some have to go');
    ok(shared('evict'), '... the last ones are shared');
    is(scalar(() = $fleet->said($DOWN)) - $before[0], 0, '... and nothing is logged');

    # ... or refuses what is new
    $store->command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    $store->command('CONFIG', 'SET', 'maxmemory', 1);

    @got = map { $fleet->get($_ % 2, "/token?key=oom$_") } 1 .. 20;
    is(scalar(unanswered(@got)), 0, 'a store that refuses to grow: a token each');
    is(scalar(() = $fleet->said(qr/$DOWN.*OOM/)), 2,
        '... one line in the log of each machine');

    $store->command('CONFIG', 'SET', 'maxmemory', 0);
    ok((wait_for { shared('room' . rand) } 10), '... until there is room');
    $endpoint->answer;
}


# it has no connection left for a machine
{
    $store->command('CONFIG', 'SET', 'maxclients', 1);
    $store->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    $fleet->reload;

    my @got = map { $fleet->get($_ % 2, "/token?key=clients$_") } 1 .. 10;

    is(scalar(unanswered(@got)), 0, 'a store that has no connection left: a token each');
    cmp_ok(scalar(() = $fleet->said($DOWN)), '>', 0, '... a line in the log');
    $store->command('CONFIG', 'SET', 'maxclients', 1000);
    ok((wait_for { shared('client' . rand) } 10), '... until it has one');
}


# it becomes the replica of another one
{
    my $other = Token::Redis->new->start;
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;

    $store->command('REPLICAOF', '127.0.0.1', $other->port);
    wait_for { $store->info('replication')->{master_link_status} eq 'up' } 10;

    my @got = map { $fleet->get($_ % 2, "/token?key=replica$_") } 1 .. 20;

    is(scalar(unanswered(@got)), 0, 'a store that may only be read: a token each');
    is(scalar(() = $fleet->said(qr/$DOWN.*READONLY/)), 2,
        '... one line in the log of each machine');
    $store->command('REPLICAOF', 'NO', 'ONE');
    ok((wait_for { shared('again' . rand) } 10), '... until it is a master again');
}


# it is not there when nginx starts
{
    $store->kill;
    $fleet->stop->start;

    my @got = map { $fleet->get($_ % 2, "/token?key=start$_") } 1 .. 10;

    is(scalar(unanswered(@got)), 0, 'nginx starts without the store: a token each');
    $store->start;
    ok((wait_for { shared('late' . rand) } 10), '... and uses it when it is there');
}


# scripts that run for ever keep others out
{
    my @before = map { scalar(() = $fleet->said($_)) } $DOWN, $UP;

    $store->command('CONFIG', 'SET', 'lua-time-limit', 50);

    my $busy = Token::Resp->connect(unix => $store->socket);

    $busy->command('AUTH', 'admin', 'x');
    $busy->send(Token::Resp::bytes_of('EVAL', 'while true do end', 0));
    sleep 0.2;

    my @got = map { $fleet->get($_ % 2, "/token?key=busy$_") } 1 .. 20;

    is(scalar(unanswered(@got)), 0, 'a store that is busy: a token each');
    is(scalar(() = $fleet->said(qr/$DOWN.*BUSY/)), 2,
        '... one line in the log of each machine');
    eval { $store->command('SCRIPT', 'KILL') };
    ok((wait_for { eval { shared('calm' . rand) } } 10), '... until it has time again');
}


# it answers, but runs no scripts: writes wait, as in a failover that was asked for
{
    my $quick = Token::Fleet->new(machines => 1, workers => 1,
        store => $store->url, server => $locations)->start;

    is(scalar(unanswered($quick->get(0, '/token?key=before'))), 0, 'a store is used');
    $store->command('CLIENT', 'PAUSE', 60000, 'WRITE');

    my @got;

    for my $n (1 .. 24) {
        push @got, $quick->get(0, "/token?key=paused$n");
        sleep 0.3;
    }

    is(scalar(unanswered(@got)), 0, 'a store that runs no scripts: a token each');

    my $said = () = $quick->said($DOWN);

    ok($said == 1 || $said == 2, '... the log does not say each second that it is not used')
        or diag("$said times");
    $store->command('CLIENT', 'UNPAUSE');
    ok((wait_for {
        $quick->get(0, '/token?key=run' . rand);
        $quick->said($UP) == $said;
    } 10), '... it is used again');
    is(scalar(() = $quick->said($DOWN)), $said, '... and stays so');
    $quick->stop;
}


# the machines themselves
is(scalar(() = $fleet->said(qr/\[(?:crit|alert|emerg)\]/)), 0, 'nothing worse in the logs');
is(scalar($_->workers), 1, '... and the worker is there') for $fleet->machines;
