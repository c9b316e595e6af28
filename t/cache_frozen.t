# All of nginx is frozen for a while, as a machine or a container is that
# sleeps, while a token is on its way: that is no failure of the endpoint, and
# whoever waits gets a token.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 55;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

my $endpoint = Token::Endpoint->new;

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport',
    log_level => 'info',
    http => zone(),
    server => join('',
        (map { location($_->[0], $endpoint->url,
            "token_proxy_cache_key \"$_->[0]\$arg_key\"",
            "proxy_read_timeout $_->[1]", 'token_proxy_retry_backoff 60s 60s',
            'token_proxy_refresh_before 100%') }
            ['patient', '60s'], ['hasty', '2s']),
        'location = /status { token_proxy_status; access_log off; }',
    ),
)->start;


# Callers wait, and nginx sleeps for 3 s, which is longer than a lease. By
# phase: what the endpoint does, the location, the calls.
for my $case (
    ['the answer comes meanwhile', { delay => 1 }, 'patient', 1],
    ['the answer comes later, before anybody asks again', { delay => 3.3 },
        'patient', 1],
    ['the second half of the answer comes meanwhile', { pause => 1 },
        'patient', 1],
    ['an error comes meanwhile', { delay => 1, status => 500 }, 'patient', 2],
    ['the connection ends meanwhile', { delay => 1, close => 1 }, 'patient', 2],
    ['the connection is dead afterwards', { delay => 30 }, 'patient', 2],
    ['proxy_read_timeout ends meanwhile', { delay => 20 }, 'hasty', 2])
{
    my ($what, $answer, $location, $calls) = @$case;
    my $path = "/$location?key=" . $what =~ tr/ ,/__/r;

    $endpoint->reset;
    $endpoint->answer();
    $endpoint->next($answer);

    my $client = Token::Client->new($nginx->port);

    $client->send($path) for 1 .. 20;
    wait_for { $endpoint->calls } or diag('no call');
    sleep 0.2;
    frozen(3);

    my @got = $client->receive(10);
    my %pids = map { ($_->{headers}{'x-pid'} // 0) => 1 } @got;
    my %got;

    $got{ token($_) // $_->{status} // 'nothing' }++ for @got;

    is_deeply(\%got, { "AT-$calls" => 20 }, "$what: all who wait get a token")
        or diag(explain \%got);
    is(scalar(keys %pids), 2, '... in both workers');
    is($endpoint->calls, $calls, '... of ' . ($calls == 1 ? 'that call' : 'another call'));
    is(status($nginx->get($path)), 'HIT', '... which is kept');
    like($nginx->get('/status')->{content}, qr/"backoff_entries":0\b/,
        '... and there is no backoff');
}


# a renewal, in the same way: the token of before is served, and no error
for my $case (
    ['the answer comes meanwhile', { delay => 1 }, 'patient'],
    ['an error comes meanwhile', { delay => 1, status => 500 }, 'patient'],
    ['proxy_read_timeout ends meanwhile', { delay => 20 }, 'hasty'],
    ['it all expires meanwhile', { delay => 1, status => 500 }, 'patient', 4])
{
    my ($what, $answer, $location, $lifetime) = @$case;
    my $path = "/$location?key=renewal_" . $what =~ tr/ /_/r;
    my %statuses;

    $endpoint->reset;
    $endpoint->answer(expires_in => $lifetime // 20);

    my $first = $nginx->get($path);

    # due after a tenth of its lifetime, and something at random
    $endpoint->answer();
    $endpoint->next($answer);
    wait_for { $nginx->get($path); $endpoint->calls == 2 } 8;
    is($endpoint->calls, 2, "a renewal, and $what");

    frozen($lifetime // 3);

    for (1 .. 20) {
        $statuses{ $nginx->get($path)->{status} }++;
        sleep 0.05;
    }

    is_deeply(\%statuses, { 200 => 20 }, '... callers get a token')
        or diag(explain \%statuses);
    ok((wait_for { token($nginx->get($path)) ne token($first) } 10),
        '... and then the new one');
    like($nginx->get('/status')->{content}, qr/"backoff_entries":0\b/,
        '... and there is no backoff');
    cmp_ok($endpoint->calls, '<=', 3, '... with one more call at most');
}

$nginx->stop('QUIT');


# The master too: it would start workers anew, and none is to run.
sub frozen {
    my ($seconds) = @_;
    my @pids = ($nginx->workers, $nginx->pid);

    kill STOP => @pids;
    sleep $seconds;
    kill CONT => reverse @pids;

    return;
}
