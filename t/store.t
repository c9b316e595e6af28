# One token for three machines, by a store: who calls the endpoint, who waits,
# what the store has, and what it has not.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 68;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(wait_for);

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'orders');
my $fleet = Token::Fleet->new(
    store => $store->url . $PATIENT,
    log_level => 'debug',
    http => 'token_proxy_cache_zone zone=alone:1m store=off;',
    server => join('',
        location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_fields access_token expires_in',
            'token_proxy_cache_bypass $arg_new',
            'token_proxy_retry_backoff 20s 30s'),
        location('alone', $endpoint->url, 'token_proxy_cache alone'),
        location('warm', $endpoint->url, 'token_proxy_cache_warm on',
            'token_proxy_param scope warm'),
        location('for_api', $endpoint->url, 'token_proxy_param scope api'),
        location('for_other', $endpoint->url, 'token_proxy_param scope other',
            'token_proxy_retry_backoff 1ms 1ms'),
        'location = /other { token_proxy_bearer /for_other; proxy_pass '
            . $api->url('/other') . '; }',
        'location = /api { token_proxy_bearer /for_api; proxy_pass '
            . $api->url('/orders') . '; }',
        'location = /status { token_proxy_status; access_log off; }',
    ),
);

note($store->version);


# How many scripts it has run.
sub scripts { return $store->calls('evalsha') + $store->calls('eval') }


# a warm location: nobody has asked yet
{
    $endpoint->answer(delay => 1);
    $fleet->start;

    ok((wait_for { 3 == grep { $fleet->get($_, '/warm')->{status} == 200 } 0 .. 2 } 15),
        'a warm location: all machines have a token');

    my @got = map { $fleet->get($_, '/warm') } 0 .. 2;

    is_deeply(tokens(@got), { 'AT-1' => 3 }, '... the same one');
    is($endpoint->calls, 1, '... of one call');
}


# three hundred, and no token yet
{
    my $before = scripts();
    my @got = $fleet->at_once('/token?key=cold', 100);
    my %expires = map { member($_, 'expires_in') => 1 } @got;

    is(scalar(unanswered(@got)), 0, '300 callers of 3 machines: all are answered');
    is_deeply(tokens(@got), { 'AT-2' => 300 }, '... with the same token');
    is($endpoint->calls, 2, '... of one call');
    is(scalar(grep { $_ > 3600 || $_ < 3590 } keys %expires), 0,
        '... and are told what is left of it');

    note((scripts() - $before) . ' commands');

    $before = scripts();
    @got = $fleet->at_once('/token?key=cold', 50);

    is_deeply(tokens(@got), { 'AT-2' => 150 }, 'more callers: the same token');
    is(scripts(), $before, '... and no command');
    $endpoint->answer;
}


# a machine that comes later
{
    $endpoint->reset;
    $endpoint->answer(expires_in => 100);

    my $first = $fleet->get(0, '/token?key=late');

    sleep 2.1;

    my $second = $fleet->get(1, '/token?key=late');

    is(token($second), token($first), 'a machine that comes later has the token');
    is($endpoint->calls, 1, '... without a call');
    is(status($second), 'MISS', '... though it was a miss');
    cmp_ok(member($second, 'expires_in'), '<=', 98, '... with what is left of it');
    cmp_ok(member($second, 'expires_in'), '>', 80, '... and no less');
    $endpoint->answer;
}


# the endpoint fails
{
    $endpoint->reset;
    $endpoint->answer(status => 503, body => '{"error":"temporarily_unavailable"}');

    is($fleet->get(0, '/token?key=fail')->{status}, 503, 'the endpoint fails');

    my $second = $fleet->get(1, '/token?key=fail');

    is($second->{status}, 503, '... so it does for another machine');
    like($second->{headers}{'retry-after'}, qr/^\d+$/, '... which knows when to come again');
    is($endpoint->calls, 1, '... without a call');
    $endpoint->answer;
}


# a caller that wants another token
{
    $endpoint->reset;

    my $first = token($fleet->get(0, '/token?key=bypass'));

    is(token($fleet->get(1, '/token?key=bypass')), $first, 'two machines, one token');

    sleep 1.1;

    my $renewed = $fleet->get(0, '/token?key=bypass&new=1');
    my $new = token($renewed);

    another($renewed, $first, '... a bypass gets another one');
    is($endpoint->calls, 2, '... by a call');

    sleep 1.1;

    is(token($fleet->get(1, '/token?key=bypass&new=1')), $new,
        '... and that of the other machine gets the same');
    is($endpoint->calls, 2, '... without one');
}


# an API refuses a token
{
    $endpoint->reset;

    is($fleet->get($_, '/api')->{content}, 'orders', 'an API, with the token of all')
        for 0 .. 2;
    is($endpoint->calls, 1, '... of one call');

    my ($old) = map { /^Authorization: Bearer (\S+)\r$/m } ($api->requests)[-1];

    # the API refuses that one from now on
    for my $n (0 .. 2) {
        my $before = () = $api->requests;

        $api->next({ status => 401, body => 'revoked' });
        is($fleet->get($n, '/api')->{content}, 'orders',
            'it refuses the token: a machine gets a new one');
        is($endpoint->calls, 2, '... of one call for all');
    }

    my %used = map { /^Authorization: Bearer (\S+)\r$/m ? ($1 => 1) : () }
        ($api->requests)[-1, -3, -5];

    is(scalar(keys %used), 1, '... and it is the same for all machines');
    ok(!$used{$old}, '... and another than before');
}


# ... and there is no other one for now
{
    $endpoint->reset;

    is($fleet->get(0, '/other')->{content}, 'orders', 'an API, with a token');

    my $old = token($fleet->get(0, '/for_other'));

    $endpoint->answer(status => 503, body => '{"error":"temporarily_unavailable"}');
    $api->next({ status => 401, body => 'revoked' });
    cmp_ok($fleet->get(0, '/other')->{status}, '>=', 400, 'it refuses, and the endpoint fails');
    $endpoint->answer;

    my $new;

    ok((wait_for { $new = token($fleet->get(1, '/for_other')) } 10),
        '... a machine that had no token');
    isnt($new, $old, '... does not get the refused one');
}


# what is not kept is not shared, and nobody waits for it
{
    $endpoint->reset;
    $endpoint->answer(expires_in => undef);

    my $start = time;
    my @got = map { $fleet->get($_ % 3, '/token?key=unkept') } 0 .. 5;

    is(scalar(keys %{ tokens(@got) }), 6, 'an answer without a lifetime: a call for each');
    cmp_ok(time - $start, '<', 6, '... and none waits for a lease of another');
    ok((wait_for { !grep { /:l$/ } @{ $store->command('KEYS', '*') } } 1),
        '... since it has ended');

    # of a size that a store may keep
    $endpoint->answer(members => { more => 'x' x 50_000 });

    is(token($fleet->get(0, '/token?key=large')), 'AT-7', 'a large answer');
    is(token($fleet->get(1, '/token?key=large')), 'AT-7', '... is shared');
    $endpoint->answer;
}


# a zone that has no store
{
    $endpoint->reset;
    my $before = scripts();

    is($fleet->get($_, '/alone')->{status}, 200, 'store=off') for 0 .. 2;
    is($endpoint->calls, 3, '... each machine has its own token');
    is(scripts(), $before, '... and sends no command');
}


# what the store has
{
    my @keys = @{ $store->command('KEYS', '*') };
    my $port = $endpoint->port;
    my $dump = $store->dump;

    cmp_ok(scalar(@keys), '>', 4, 'the store has keys');
    is(scalar(grep { !/^\w+:\{[0-9a-f]{64}\}:[tlf]$/ } @keys), 0,
        '... names of HMACs, with a hash tag');
    is(scalar(grep { $store->command('PTTL', $_) <= 0 } @keys), 0,
        '... which all end some time');
    cmp_ok(length($dump), '>', 1000, 'its dump');

    # that the test would find them
    $store->command('SET', 'proof', 'AT-1');
    like($store->dump, qr/\b[AR]T-\d/, '... shows what it has');
    unlike($dump, $_, "... and not $_")
        for qr/\b[AR]T-\d/, qr/my-secret/, qr/my-key/, qr/bXkta2V5/, qr/127\.0\.0\.1/,
        qr/:$port\b/, qr/access_token|Bearer|client_credentials/, qr/scope|warm/;
}


# what nginx says
{
    no_secrets($_, qr/sealed|HMGET/) for $fleet->machines;
    is(scalar(() = $fleet->said(qr/\[(?:error|crit|alert|emerg)\] .*store/)), 0,
        'nothing is wrong with the store');
}


# its memory does not grow
{
    $endpoint->reset;
    $endpoint->answer(expires_in => 2);
    $store->command('FLUSHALL');
    $fleet->get($_ % 3, "/token?key=short$_") for 1 .. 20;
    is(scalar(grep { /:t$/ } @{ $store->command('KEYS', '*') }), 20,
        'tokens that live two seconds');
    ok((wait_for { $store->command('DBSIZE') == 0 } 20), '... are gone then');
}
