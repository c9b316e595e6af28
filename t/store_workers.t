# Workers and machines that come and go while the store is asked: killed while
# they fetch for all, reloaded, told to leave; and clocks that differ.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 34;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Server;
use Token::Util qw(wait_for);

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;
my $locations = location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"');


# what a process has open
sub sockets {
    my ($pid) = @_;

    return scalar grep { (readlink($_) // '') =~ /^socket:/ } glob "/proc/$pid/fd/*";
}


# the worker that fetches for all is killed
{
    my $fleet = Token::Fleet->new(machines => 2, workers => 1,
        store => $store->url . $PATIENT, server => $locations)->start;
    my ($first, $second) = $fleet->machines;
    my @clients = map { Token::Client->new($_->port) } $first, $second;

    $endpoint->answer(delay => 20);
    $clients[0]->send('/token?key=killed');
    ok((wait_for { $endpoint->calls == 1 } 10), 'a machine fetches for all');

    $endpoint->answer(delay => 0);
    $clients[1]->send('/token?key=killed');
    sleep 0.5;
    is($endpoint->calls, 1, '... another one waits');

    my @workers = $first->workers;
    my $start = time;

    kill KILL => @workers;

    my ($got) = $clients[1]->receive(15);

    is($got->{status}, 200, '... the worker is killed: the other one gets a token');
    cmp_ok(time - $start, '<', 8, '... soon, when the lease has ended');
    is($endpoint->calls, 2, '... by one more call');

    wait_for { $first->workers == 1 && ($first->workers)[0] != $workers[0] } 10;
    is(token($first->get('/token?key=killed')), token($got),
        '... which the first machine has as well, once it has a worker');
    is($endpoint->calls, 2, '... without one more');
    $fleet->stop;
}


# a holder that is slow keeps its lease
{
    $endpoint->reset;
    $endpoint->answer(delay => 3.5);

    my $fleet = Token::Fleet->new(machines => 2, workers => 2,
        store => $store->url . $PATIENT, server => $locations)->start;
    my @got = $fleet->at_once('/token?key=slow', 5);

    is(scalar(unanswered(@got)), 0, 'a call that takes longer than a lease: all are answered');
    is($endpoint->calls, 1, '... by one call');
    $endpoint->answer;
    $fleet->stop;
}


# reloads under load
{
    $endpoint->reset;
    $endpoint->answer(expires_in => 2, delay => 0.2);

    my $fleet = Token::Fleet->new(machines => 2, workers => 2,
        store => $store->url . $PATIENT, server => $locations)->start;
    my $load = $fleet->load('/token?key=reload', close => 1);

    for (1 .. 4) {
        $fleet->reload;
        $fleet->get($_ % 2, "/token?key=reload$_");
        sleep 0.3;
    }

    my $result = $load->();

    cmp_ok($result->{requests}, '>', 100, 'reloads under load');
    is($result->{failed}, 0, '... nobody fails') or diag(explain($result->{why}));
    ok((wait_for { $store->clients == 4 } 15), '... a connection for each worker, no more')
        or diag($store->clients);

    # with what was fetched before
    $endpoint->answer(expires_in => 600);
    my $token = token($fleet->get(0, '/token?key=after'));
    is(token($fleet->get(1, '/token?key=after')), $token, '... and the store is used');
    $fleet->stop;
    ok((wait_for { $store->clients == 0 } 15), '... none when they have gone');
}


# told to leave while the store owes a reply
{
    $endpoint->reset;
    $endpoint->answer;

    for my $signal (qw(QUIT TERM HUP)) {
        my $nginx = Token::Server->new(
            http => zone() . "token_proxy_cache_store @{[ $store->url ]} timeout=2s;",
            server => $locations)->start;
        my $worker = ($nginx->workers)[0];

        wait_for { $store->clients == 1 } 10;
        $store->freeze;

        my $client = Token::Client->new($nginx->port);

        $client->send("/token?key=$signal");
        wait_for { $nginx->error_log =~ /http request line: "GET/ };
        kill $signal => $nginx->pid;

        my ($got) = $client->receive(10);

        is($got->{status}, $signal eq 'TERM' ? 0 : 200, "$signal while the store is silent: "
            . ($signal eq 'TERM' ? 'the caller is left' : 'the caller gets a token'));
        ok((wait_for { !Token::Server::alive($worker) } 15), '... the worker goes');
        $store->thaw;
        unlike($nginx->error_log, qr/open socket|\[alert\]/, '... and leaves no socket');
        $nginx->stop;
        wait_for { $store->clients == 0 } 10;
    }
}


# no descriptor and no connection is lost
{
    my $nginx = Token::Server->new(log_level => 'info',
        http => zone() . "token_proxy_cache_store @{[ $store->url ]};",
        server => $locations . 'location = /stub { stub_status; access_log off; }')->start;
    my $worker = ($nginx->workers)[0];

    $nginx->get("/token?key=fd$_") for 1 .. 5;

    my $before = sockets($worker);

    for my $n (1 .. 4) {
        $store->kill;
        $nginx->get("/token?key=fd-$n-$_") for 1 .. 3;
        $store->start;
        wait_for { $store->clients == 1 } 5;
        $nginx->get("/token?key=fd+$n-$_") for 1 .. 3;
    }

    ok((wait_for { sockets($worker) <= $before } 5), 'a store that comes and goes: no descriptor is lost')
        or diag(sockets($worker), " $before");
    like($nginx->get('/stub')->{content}, qr/Active connections: 1 /, '... and no connection');
    $nginx->stop;
}


# The old worker and the new one look for the store, each every second.
{
    my $gone = Token::Redis->new;
    my $fleet = Token::Fleet->new(machines => 1, workers => 1, store => $gone->url,
        server => location('token', $endpoint->url))->start;
    my ($nginx) = $fleet->machines;
    my $both;

    wait_for { $fleet->said(qr/is not used for now/) };

    for (1 .. 5) {
        my ($old) = $nginx->workers;

        kill HUP => $nginx->pid;
        wait_for { grep { $_ != $old } $nginx->workers };
        kill STOP => $nginx->pid;

        last if $both = grep { $_ == $old } $nginx->workers;

        kill CONT => $nginx->pid;
        wait_for { $nginx->workers == 1 };
    }

    ok($both, 'a reload while the store is away: both configurations have a worker');

    my $before = length $nginx->error_log;
    sleep 4;
    unlike(substr($nginx->error_log, $before), qr/not used/, '... it is not logged again and again');

    kill CONT => $nginx->pid;
    $fleet->stop;
}


# clocks that differ by an hour
{
    my ($faketime) = glob '/usr/lib/*/faketime/libfaketime.so.1';

    ok($faketime, 'there is libfaketime');
    $endpoint->reset;
    $endpoint->answer(expires_in => 600);

    my @machines = map {
        my $fleet = Token::Fleet->new(machines => 1, workers => 1, store => $store->url . $PATIENT,
            server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
                'token_proxy_fields access_token expires_in')
                . location('short', $endpoint->url, 'token_proxy_cache_key "short$arg_key"'),
            env => { LD_PRELOAD => $faketime, FAKETIME => $_, FAKETIME_DONT_FAKE_MONOTONIC => 1,
                DONT_FAKE_MONOTONIC => 1 });
        $fleet->start;
    } '+0', '-1h', '+1h';

    my @dates = map { $_->get(0, '/token?key=clock')->{headers}{date} =~ /(\d+):\d+:\d+/ ? $1 : '' }
        @machines;
    my %hours = map { $_ => 1 } @dates;

    is(scalar(keys %hours), 3, 'clocks that differ by an hour');

    my @got = map { $_->get(0, '/token?key=clock') } @machines;

    is_deeply(tokens(@got), { 'AT-1' => 3 }, '... one token');
    is($endpoint->calls, 1, '... of one call');
    is(scalar(grep { my $n = member($_, 'expires_in'); $n > 600 || $n < 570 } @got), 0,
        '... with the right time that is left');

    # whoever fetches
    for my $n (1, 2) {
        @got = map { $machines[ ($_ + $n) % 3 ]->get(0, "/token?key=clock$n") } 0 .. 2;
        is(scalar(keys %{ tokens(@got) }), 1, '... whichever machine fetches');
    }

    $_->stop for @machines;
}
