# After a failure the endpoint is left alone: longer each time, as long as it
# asks for, and not at all once it has given a token.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 177;
use HTTP::Date qw(time2str);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port wait_for);

my $endpoint = Token::Endpoint->new;
my $closing = Token::Endpoint->new(close => 1);
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
        location('asked', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_retry_backoff 10s 40s'),
        location('waits', $endpoint->url, 'token_proxy_cache_key waits',
            'token_proxy_retry_backoff 100ms 2s'),
        location('well', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_retry_backoff 100ms 1s'),
        location('early', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_refresh_before 100%'),
        location('closing', $closing->url, 'token_proxy_retry_backoff 10s 10s'),
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
    my $second = $nginx->get('/default');

    is($first->{status}, 502, 'the caller whose call it is: 502');
    is($second->{status}, 503, 'the next one: 503');
    like($second->{headers}{'retry-after'}, qr/^[12]$/,
        'with the default of a second or a quarter more');
    is($second->{content}, '{"error":"temporarily_unavailable",'
        . '"error_description":"The token endpoint failed a moment ago, '
        . 'try again later."}', 'and the reason');
    is($second->{headers}{'cache-control'}, 'no-store', 'not to be cached');
    is(status($second), 'ERROR', '$token_proxy_cache_status');
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
    cmp_ok($next->{headers}{'retry-after'}, '<=', 10, "$what: Retry-After");
    cmp_ok($next->{headers}{'retry-after'}, '>', 5, "$what: ... of some seconds");
    is($endpoint->calls - $calls, 1, "$what: one call");
}

for my $case (['refused', 502], ['timeout', 504], ['closing', 502]) {
    my ($name, $status) = @$case;

    $endpoint->answer(delay => 1);
    is($nginx->get("/$name")->{status}, $status, "$name: $status");
    is($nginx->get("/$name")->{status}, 503, "$name: 503 for the next one");
}

is($closing->calls, 1, 'closing: one call');


# Retry-After, where it has a meaning, and the backoff of 10 to 12.5 s where not
my $n = 0;

for my $case (
    ['seconds', 429, 20, 20], ['seconds', 503, 20, 20],
    ['less than the backoff', 429, 1, 13], ['zero', 503, 0, 13],
    ['a date', 429, time2str(time + 20), 20],
    ['a date', 503, time2str(time + 20), 20],
    ['a date that is past', 503, time2str(time - 3600), 13],
    ['negative', 503, -20, 13],
    ['words', 503, 'later', 13],
    ['absurd seconds', 429, '9' x 30, 13],
    ['more than the maximum', 429, 60, 40],
    ['a date after the maximum', 503, time2str(time + 3600), 40],
    ['many seconds', 429, 1_000_000_000, 40],
    ['a date in a hundred years', 503, 'Fri, 31 Dec 2126 23:59:59 GMT', 40],
    ['empty', 503, '', 13],
    ['not for a 500', 500, 20, 13],
    ['not for a 401', 401, 20, 13])
{
    my ($what, $status, $value, $seconds) = @$case;
    my $path = '/asked?key=retry' . $n++;
    my $name = "Retry-After of a $status: $what";

    $endpoint->answer(status => $status, headers => ['Retry-After' => $value]);

    my $first = $nginx->get($path);
    my $next = $nginx->get($path);

    is($next->{status}, 503, "$name: 503");
    cmp_ok($next->{headers}{'retry-after'} // 0, '<=', $seconds,
        "$name: not more than $seconds s");
    cmp_ok($next->{headers}{'retry-after'} // 0, '>=', $seconds - 5,
        "$name: not less");

    if ($first->{status} == 503 && $seconds >= 20) {
        cmp_ok($first->{headers}{'retry-after'}, '>=', $seconds - 5,
            "$name: the first caller is told as well");
        cmp_ok($first->{headers}{'retry-after'}, '<=', $seconds,
            "$name: ... no longer than it is so");
    }
}

# and it is waited for
{
    $endpoint->answer();
    $endpoint->next({ status => 503, headers => ['Retry-After' => 1] });

    between(gaps('/waits', 2), 1, 1, 'Retry-After: longer than the backoff');
    is($nginx->get('/waits')->{status}, 200, '... and then a token');
}

# an endpoint that asks for an hour, and is well in a second
for my $hour (3600, time2str(time + 3600)) {
    my $path = '/well?key=' . $hour =~ tr/ ,:/___/r;

    $endpoint->answer();
    $endpoint->next({ status => 503, headers => ['Retry-After' => $hour] });

    my $first = $nginx->get($path);

    is($first->{status}, 503, "Retry-After: $hour, healthy a second later: 503");
    is($first->{headers}{'retry-after'}, 1, '... which says how long it is so');
    is($nginx->get($path)->{status}, 503, '... for those in that second');
    ok((wait_for { $nginx->get($path)->{status} == 200 } 10), '... and no hour');
}


# a renewal whose token cannot be kept is not repeated for each caller
{
    $endpoint->answer(expires_in => 40);
    $endpoint->reset;

    my $path = '/early?key=unkept';
    my $first = token($nginx->get($path));

    $endpoint->answer(expires_in => 0);
    wait_for { $nginx->get($path); $endpoint->calls > 1 } 10;

    is(token($nginx->get($path)), $first, 'a renewal brings nothing to keep') for 1 .. 5;
    is($endpoint->calls, 2, '... and is not repeated for each caller');
}


# a failing refresh: the token is used as long as it lives, and no longer
{
    $endpoint->answer(expires_in => 2);

    my $first = $nginx->get('/a?key=refresh');
    my $calls = $endpoint->calls;
    my ($hits, $errors, $early, $late) = (0, 0, 0, 0);

    $endpoint->answer(status => 500, headers => [Warning => 'x']);

    while (time - $first->{received} < 2.3) {
        my $response = $nginx->get('/a?key=refresh');

        if ((token($response) // '') eq token($first)) {
            $hits++;
            $late++ if $response->{sent} - $first->{received} > 2;

        } else {
            $errors++;
            $early++ if $response->{received} - $first->{sent} < 2;
        }

        sleep 0.02;
    }

    $calls = $endpoint->calls - $calls;

    cmp_ok($hits, '>', 10, 'the token is in use while refreshes fail');
    is($early, 0, '... to its end');
    is($late, 0, '... and not after it');
    cmp_ok($errors, '>', 0, 'then callers get errors');
    cmp_ok($calls, '>=', 2, 'the refresh is tried again');
    cmp_ok($calls, '<=', 6, '... but not often');

    $endpoint->answer(expires_in => 60);
    wait_for { $nginx->get('/a?key=refresh')->{status} == 200 } 3;
    another($nginx->get('/a?key=refresh'), token($first),
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


# One who asks all the time: who makes a call is not told that the endpoint is
# left alone. For each call but the first, [the seconds since the one before,
# the seconds after it at which somebody was still told to wait], neither
# longer for a machine that is busy.
sub gaps {
    my ($path, $number) = @_;
    my $end = time + 30;
    my ($last, $told, @gaps);

    while (@gaps < $number - 1 && time < $end) {
        my $got = $nginx->get($path);

        if ($last && in_backoff($got)) {
            $told = $got->{sent} - $last->{received};

        } else {
            push @gaps, [$got->{received} - $last->{sent}, $told // 0] if $last;
            ($last, $told) = ($got, undef);
        }

        sleep 0.01;
    }

    return @gaps;
}


sub in_backoff { return $_[0]{content} =~ /failed a moment ago/ }


sub between {
    my ($gap, $from, $to, $name) = @_;

    cmp_ok($gap->[0] // 0, '>=', $from - 0.01, "$name: not too early");
    cmp_ok($gap->[1] // 99, '<=', $to + 0.01, "$name: not too late");
}
