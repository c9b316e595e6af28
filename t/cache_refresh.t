# A token is renewed before it expires, and nobody waits for that. One worker:
# whoever waits there makes everybody wait.
#
# Machines may be busy: a time is held against when a request was sent and when
# its answer was there, and what is late, is late by seconds.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 43;
use List::Util qw(max);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

# What takes longer has waited for an endpoint that needs twice as long.
my $AT_ONCE = 2;

my $endpoint = Token::Endpoint->new;

my $nginx = Token::Server->new(
    http => zone(),
    server => join('',
        (map { location($_->[0], $endpoint->url,
            'token_proxy_cache_key "$arg_key"',
            'token_proxy_retry_backoff 300ms 300ms', 'token_proxy_lock_timeout 10s',
            defined $_->[1] ? "token_proxy_refresh_before $_->[1]" : ()) }
            ['default'], ['percent', '75%'], ['all', '100%'], ['long', '1h'],
            ['time', '2s'], ['never', '0'], ['none', '0%']),
        location('patient', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_lock_timeout 10s'),
        'location = /neighbour { return 200 "neighbour"; }',
    ),
)->start;


# when: a tenth of the time before the expiry is jitter
for my $case (
    ['default', undef, 4, 2.0, 2.2],
    ['percent', '75%', 4, 1.0, 1.3],
    ['time', '2s', 4, 2.0, 2.2],
    ['all', '100%', 2, 0.2, 0.38],     # a tenth of its life it is used
    ['long', '1h', 2, 0.2, 0.38])
{
    my ($name, $before, $lifetime, $from, $to) = @$case;
    my $what = "token_proxy_refresh_before " . ($before // '(50%)');
    my $path = "/$name?key=$name";

    $endpoint->answer(expires_in => $lifetime);
    $endpoint->reset;

    my $first = $nginx->get($path);
    my $due = $first->{received} + $to;
    my $last = $first;

    # whoever asks when it is due, has it renewed
    until ($endpoint->calls > 1 || $last->{sent} > $due) {
        $last = $nginx->get($path);
        sleep 0.02;
    }

    ok((wait_for { $endpoint->calls > 1 }), "$what: it is renewed when it is due");
    is(status($last), 'HIT', '... for one who does not wait');
    cmp_ok(time - $first->{sent}, '>=', $from, '... and not before its time');
    note(sprintf '%.2f s', time - $first->{sent});
}

for my $name (qw(never none)) {
    my $path = "/$name?key=$name";

    $endpoint->answer(expires_in => 3);
    $endpoint->reset;

    my $first = $nginx->get($path);

    while (time - $first->{sent} < 1.8) {
        $nginx->get($path);
        sleep 0.05;
    }

    is($endpoint->calls, 1, "token_proxy_refresh_before of $name: no call before");
    sleep 3.1 - (time - $first->{sent});
    is(status($nginx->get($path)), 'EXPIRED', '... and a new token then');
}


# a refresh delays nobody: not its caller, not the caller's next request
{
    $endpoint->answer(expires_in => 6);
    $endpoint->reset;

    my $first = token($nginx->get('/default?key=delay'));

    sleep 3.4;
    $endpoint->answer(expires_in => 60, delay => 4);

    my $client = HTTP::Tiny->new(keep_alive => 1);
    my @took;
    my @tokens;
    my @statuses;

    for (1 .. 20) {
        my $start = time;
        my $response = $client->get($nginx->url('/default?key=delay'));

        push @took, time - $start;
        push @tokens, token($response);
        push @statuses, status($response);
    }

    is(scalar(grep { $_ eq $first } @tokens), 20,
        'while a refresh runs, callers get the current token');
    is(scalar(grep { $_ eq 'HIT' } @statuses), 20, '... as a hit');
    cmp_ok(max(@took), '<', $AT_ONCE,
        '... the one that caused it and its next requests are not held up');
    note(sprintf 'the slowest took %.1f ms', 1000 * max(@took));

    ok(wait_for { $endpoint->calls == 2 }, '... one refresh is under way');
    ok((wait_for { token($nginx->get('/default?key=delay')) ne $first } 10),
        '... then they get the new token');
    is($endpoint->calls, 2, '... of that call');
}


# one refresh, however many ask
{
    $endpoint->answer(expires_in => 6);
    $endpoint->reset;

    my $first = token($nginx->get('/all?key=many'));

    sleep 1.2;
    $endpoint->answer(expires_in => 60, delay => 2);

    my $client = Token::Client->new($nginx->port);

    $client->send('/all?key=many') for 1 .. 200;

    my @got = $client->receive(10);

    is(scalar(grep { (token($_) // '') eq $first } @got), 200,
        '200 callers at once: the current token');
    ok(wait_for { token($nginx->get('/all?key=many')) ne $first },
        '... and then the new one');
    is($endpoint->calls, 2, '... with one refresh');
}


# a refresh that outlives the token: then there is somebody who waits
{
    $endpoint->answer(expires_in => 3);
    $endpoint->reset;

    my $first = token($nginx->get('/default?key=outlived'));

    sleep 1.8;
    $endpoint->answer(expires_in => 60, delay => 4);
    is(token($nginx->get('/default?key=outlived')), $first, 'a refresh begins');
    sleep 1.4;

    my $response = $nginx->get('/default?key=outlived');

    is(status($response), 'WAIT', 'the token expires before the refresh ends');
    is(token($response), 'AT-2', '... the caller gets the new one');
    is($endpoint->calls, 2, '... of that call');
}


# a failing refresh: the token stays in use, and the next one is tried later
{
    $endpoint->answer(expires_in => 6);
    $endpoint->reset;

    my $first = token($nginx->get('/default?key=failing'));

    sleep 3.4;
    $endpoint->answer(close => 1);

    my $start = time;
    my @got;

    while (time - $start < 0.5) {
        push @got, $nginx->get('/default?key=failing');
        sleep 0.02;
    }

    is(scalar(grep { (token($_) // '') eq $first && status($_) eq 'HIT' } @got),
        scalar(@got), 'the token is in use while its refresh fails');

    $endpoint->answer(expires_in => 60);
    ok(wait_for { (token($nginx->get('/default?key=failing')) // '') ne $first },
        '... and is renewed when that is possible');
}


# a caller that leaves does not end the refresh that it caused
{
    $endpoint->answer(expires_in => 4);
    $endpoint->reset;

    my $first = token($nginx->get('/default?key=leaves'));

    sleep 2.3;
    $endpoint->answer(expires_in => 60, delay => 0.3);

    my $client = Token::Client->new($nginx->port);

    $client->leave($client->send('/default?key=leaves'));
    ok(wait_for { $endpoint->calls == 2 }, 'a refresh whose caller has left');
    ok(wait_for { token($nginx->get('/default?key=leaves')) ne $first },
        '... brings a token');
    is($endpoint->calls, 2, '... without another call');
}


# while the endpoint hangs, the worker serves everybody else
{
    $endpoint->answer();
    $endpoint->reset;

    my $other = token($nginx->get('/patient?key=other'));

    $endpoint->answer(delay => 4);

    my $client = Token::Client->new($nginx->port);

    $client->send("/patient?key=hang$_") for 1 .. 20;
    wait_for { $endpoint->calls >= 21 };

    my @took;

    for (1 .. 10) {
        my $start = time;

        is($nginx->get('/neighbour')->{content}, 'neighbour', 'a neighbour')
            if $_ == 1;
        is(token($nginx->get('/patient?key=other')), $other, 'another token')
            if $_ == 1;
        $nginx->get('/neighbour');
        push @took, time - $start;
    }

    cmp_ok(max(@took), '<', $AT_ONCE,
        'the neighbours of those who wait for an endpoint that hangs');
    note(sprintf 'the slowest took %.1f ms', 1000 * max(@took));

    my @got = $client->receive(10);

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 20,
        'those who wait are answered in the end');
}


no_secrets($nginx);
$nginx->stop('QUIT');
unlike($nginx->error_log, qr/open socket|\[alert\]/,
    'the worker leaves without a trace');
