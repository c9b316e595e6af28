# After a failure the endpoint is left alone: longer each time, as long as it
# asks for, and not at all once it has given a token.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Date qw(time2str);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port wait_for);

# Busy machines are late: a call may come so much after it was due, in seconds.
my $LATE = 0.25;

my $endpoint = Token::Endpoint->new;
my $nothing = 'http://127.0.0.1:' . free_port() . '/';

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport',
    http => zone(),
    server => join('',
        location('a', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_retry_backoff 100ms 800ms',
            'token_proxy_refresh_before 50%'),
        location('default', $endpoint->url, 'token_proxy_cache_key default'),
        location('long', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_retry_backoff 10s 10s'),
        location('refused', $nothing, 'token_proxy_retry_backoff 10s 10s'),
        location('timeout', $endpoint->url, 'token_proxy_cache_key timeout',
            'proxy_read_timeout 100ms', 'token_proxy_retry_backoff 10s 10s'),
    ),
)->start;


# growing, up to the maximum, and from the start again after a success
{
    $endpoint->answer(status => 500);

    my @gaps = gaps('/a?key=growing', 6);

    between($gaps[0], 0.1, 0.125, 'after the first failure');
    between($gaps[1], 0.2, 0.25, 'after the second one');
    between($gaps[2], 0.4, 0.5, 'after the third one');
    between($gaps[3], 0.8, 0.8, 'after the fourth one, the maximum');
    between($gaps[4], 0.8, 0.8, 'after the fifth one, no more than that');

    # the next call is a success, with a token that is not kept
    $endpoint->answer(expires_in => 0);
    wait_for { $nginx->get('/a?key=growing')->{status} == 200 } 3;

    $endpoint->answer(status => 500);
    my ($gap) = gaps('/a?key=growing', 2);
    between($gap, 0.1, 0.125, 'after a success it begins anew');
}


# what callers get in that time
{
    $endpoint->answer(status => 500);

    my $calls = $endpoint->calls;
    my $first = $nginx->get('/default');
    my $start = time;
    my $second = $nginx->get('/default');
    my $took = time - $start;

    is($first->{status}, 502, 'the caller whose call it is: 502');
    is($second->{status}, 503, 'the next one: 503');
    like($second->{headers}{'retry-after'}, qr/^[12]$/,
        'with the default of a second or a quarter more');
    is($second->{content}, '{"error":"temporarily_unavailable",'
        . '"error_description":"The token endpoint failed a moment ago, '
        . 'try again later."}', 'and the reason');
    is($second->{headers}{'cache-control'}, 'no-store', 'not to be cached');
    is(status($second), 'ERROR', '$token_proxy_cache_status');
    cmp_ok($took, '<', 0.5, 'at once');
    is($endpoint->calls - $calls, 1, 'one call');
}


# whatever the failure is
for my $case (
    ['401', { status => 401, body => '{"error":"invalid_client"}' }, 502],
    ['400', { status => 400 }, 502],
    ['404', { status => 404 }, 502],
    ['500', { status => 500 }, 502],
    ['429', { status => 429 }, 503],
    ['503', { status => 503 }, 503],
    ['302', { status => 302, headers => [Location => '/x'] }, 502],
    ['no JSON', { body => '<html>' }, 502],
    ['no token', { body => '{"expires_in":60}' }, 502],
    ['closed', { close => 1 }, 502],
    ['truncated', { truncate => 1 }, 502],
    ['garbage', { raw => "\0\1\2\n" }, 502])
{
    my ($what, $answer, $status) = @$case;
    my $path = '/long?key=' . $what =~ s/ /_/r;

    $endpoint->answer(%$answer);

    my $calls = $endpoint->calls;

    is($nginx->get($path)->{status}, $status, "$what: $status");

    my $next = $nginx->get($path);

    is($next->{status}, 503, "$what: 503 for the next one");
    like($next->{headers}{'retry-after'}, qr/^(?:9|10)$/, "$what: Retry-After");

    $calls = $endpoint->calls - $calls;
    $calls = 1 if $what eq 'closed';    # of an idle connection: tried again
    is($calls, 1, "$what: one call");
}

for my $case (['refused', 502], ['timeout', 504]) {
    my ($name, $status) = @$case;

    $endpoint->answer(delay => 1);
    is($nginx->get("/$name")->{status}, $status, "$name: $status");
    is($nginx->get("/$name")->{status}, 503, "$name: 503 for the next one");
}


# Retry-After, where it has a meaning
my $n = 0;

for my $case (
    ['seconds', 429, 20, 20], ['seconds', 503, 20, 20],
    ['less than the backoff', 429, 1, 10], ['zero', 503, 0, 10],
    ['a date', 429, time2str(time + 20), 20],
    ['a date', 503, time2str(time + 20), 20],
    ['a date that is past', 503, time2str(time - 3600), 10],
    ['negative', 503, -20, 10],
    ['words', 503, 'later', 10],
    ['absurd seconds', 429, '9' x 30, 10],
    ['many seconds', 429, 1_000_000_000, 3600],
    ['a date in a hundred years', 503, 'Fri, 31 Dec 2126 23:59:59 GMT', 3600],
    ['empty', 503, '', 10],
    ['not for a 500', 500, 20, 10],
    ['not for a 401', 401, 20, 10])
{
    my ($what, $status, $value, $seconds) = @$case;
    my $path = '/long?key=retry' . $n++;
    my $name = "Retry-After of a $status: $what";

    $endpoint->answer(status => $status, headers => ['Retry-After' => $value]);

    my $first = $nginx->get($path);
    my $next = $nginx->get($path);

    is($next->{status}, 503, "$name: 503");
    cmp_ok($next->{headers}{'retry-after'} // 0, '<=', $seconds,
        "$name: not more than $seconds s");
    cmp_ok($next->{headers}{'retry-after'} // 0, '>=', $seconds - 2,
        "$name: not less");

    if ($first->{status} == 503 && $seconds == 20) {
        cmp_ok($first->{headers}{'retry-after'}, '>=', 18,
            "$name: the first caller is told as well");
    }
}

# and it is waited for
{
    $endpoint->answer();
    $endpoint->next({ status => 503, headers => ['Retry-After' => 1] });

    my $calls = $endpoint->calls;
    my $start = time;

    $nginx->get('/a?key=waits');
    sleep 0.7;
    is($nginx->get('/a?key=waits')->{status}, 503, 'Retry-After holds');
    is($endpoint->calls - $calls, 1, '... longer than the backoff');

    wait_for { $nginx->get('/a?key=waits')->{status} == 200 } 3;
    between(time - $start, 1, 1, '... and not longer than it says');
}


# a failing refresh: the token is used as long as it lives, and no longer
{
    $endpoint->answer(expires_in => 2);

    my $start = time;
    my $token = token($nginx->get('/a?key=refresh'));
    my $got = time;
    my $calls = $endpoint->calls;
    my ($hits, $errors, $last) = (0, 0, 0);

    $endpoint->answer(status => 500, headers => [Warning => 'x']);

    while (time - $start < 2.3) {
        my $asked = time;
        my $response = $nginx->get('/a?key=refresh');

        if ($response->{status} == 200) {
            is(token($response), $token, 'the same token') if $hits < 1;
            $hits++;
            $last = $asked;

        } else {
            $errors++;
        }

        sleep 0.02;
    }

    $calls = $endpoint->calls - $calls;

    cmp_ok($hits, '>', 10, 'the token is in use while refreshes fail');
    cmp_ok($last - $start, '>', 1.5, '... to its end');
    cmp_ok($last - $got, '<', 2, '... and not after it');
    cmp_ok($errors, '>', 0, 'then callers get errors');
    cmp_ok($calls, '>=', 2, 'the refresh is tried again');
    cmp_ok($calls, '<=', 6, '... but not often');

    $endpoint->answer(expires_in => 60);
    wait_for { $nginx->get('/a?key=refresh')->{status} == 200 } 3;
    isnt(token($nginx->get('/a?key=refresh')), $token,
        'when the endpoint is back, there is a new one');
}


# those who wait for a call that fails, in both workers
{
    $endpoint->answer(status => 401, delay => 0.3);

    my $calls = $endpoint->calls;
    my $client = Token::Client->new($nginx->port);

    $client->send('/long?key=wait') for 1 .. 40;

    my @got = $client->receive(5);
    my %pids = map { $_->{headers}{'x-pid'} => 1 } @got;

    is(scalar(grep { ($_->{status} // 0) == 502 } @got), 40,
        'all who wait for it get its failure');
    is(scalar(keys %pids), 2, '... in two workers');
    is($endpoint->calls - $calls, 1, '... of one call');
    is($nginx->get('/long?key=wait')->{status}, 503, 'who comes later does not');
}

no_secrets($nginx);
$nginx->stop;
done_testing;


# Seconds between the endpoint's calls, of one who asks all the time.
sub gaps {
    my ($path, $number) = @_;
    my $calls = $endpoint->calls;
    my $end = time + 15;
    my @times;

    while (@times < $number && time < $end) {
        $nginx->get($path);

        my $now = $endpoint->calls;

        push @times, time if $now > $calls;
        $calls = $now;
        sleep 0.01;
    }

    return map { $times[$_] - $times[$_ - 1] } 1 .. $#times;
}


sub between {
    my ($seconds, $from, $to, $name) = @_;

    # what is measured ends a little after what it measures
    cmp_ok($seconds // 0, '>', $from - 0.05, "$name: not too early");
    cmp_ok($seconds // 99, '<', $to + $LATE, "$name: not too late");
}
