# What the store keeps is sealed: by which keys, which of them opens, and what
# somebody who can write to the store gets from it.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 35;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Server;
use Token::Util qw(wait_for);

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;


# Machines, each with its own parameters of token_proxy_cache_store.
sub machines {
    return map { Token::Fleet->new(machines => 1, workers => 1,
        store => $store->url . "$PATIENT $_",
        server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"')
            . location('short', $endpoint->url, 'token_proxy_cache_key "short$arg_key"'),
    )->start } @_;
}


sub ask { my ($machine, $key) = @_; return token($machine->get(0, "/token?key=$key")) // die "$key: no token\n" }


# The tokens' keys, when there are so many: a caller is answered before the store.
sub keys_there {
    my ($number) = @_;
    my @keys;

    wait_for {
        @keys = sort grep { /:t$/ } @{ $store->command('KEYS', '*') };
        @keys >= $number && !grep { /:l$/ } @{ $store->command('KEYS', '*') };
    };

    return @keys;
}


# two fleets with different keys, one store
{
    my @fleets = machines('key=one', 'key=one', 'key=two', 'key=two', '');
    my @tokens = map { ask($_, 'fleets') } @fleets;

    is($tokens[1], $tokens[0], 'machines with a key share a token');
    is($tokens[3], $tokens[2], '... those with another key as well');
    isnt($tokens[2], $tokens[0], '... another token');
    ok(!(grep { $_ eq $tokens[4] } @tokens[0 .. 3]), '... and those without a key one more');
    is($endpoint->calls, 3, '... a call for each fleet');
    is(scalar(keys_there(3)), 3, '... an entry for each');
    is(scalar(() = map { $_->said(qr/token store/) } @fleets), 0, '... nothing is logged');

    # and each goes on with its own
    is(join(' ', map { ask($_, 'more') } @fleets[0, 1, 2, 3]),
        sub { join ' ', map { "AT-$_" } 4, 4, 5, 5 }->(), '... for another token too');
    $_->stop for @fleets;
}


# prefixes
{
    $store->command('FLUSHALL');
    $endpoint->reset;

    my @fleets = machines('key=k prefix=blue', 'key=k prefix=green');
    my @tokens = map { ask($_, 'prefix') } @fleets;

    isnt($tokens[1], $tokens[0], 'other prefixes, other tokens');
    is(join(' ', map { /^(\w+):/ } keys_there(2)), 'blue green',
        '... whose names begin with it');
    $_->stop for @fleets;
}


# the client's secret
{
    $store->command('FLUSHALL');
    $endpoint->reset;

    my ($one, $other) = machines('', '');

    $other->configure(http => '', server => location('token', $endpoint->url,
        'token_proxy_cache_key "$arg_key"', 'token_proxy_client_secret other-secret'));
    $other->reload;

    isnt(ask($other, 'secret'), ask($one, 'secret'), 'another secret, another token');
    is($endpoint->calls, 2, '... a call for each');
    is(scalar(() = map { $_->said(qr/token store/) } $one, $other), 0, '... nothing is logged');
    $_->stop for $one, $other;
}


# a rotation: OLD; then NEW OLD on one machine after the other; then NEW
{
    $store->command('FLUSHALL');
    $endpoint->reset;

    my ($a, $b) = machines('key=old', 'key=old');

    is(ask($a, 'rotate1'), 'AT-1', 'a rotation: with the old key');

    # a zone that knows of nothing
    my $fresh = sub {
        my ($machine, $keys) = @_;

        $machine->stop;
        $machine->configure(store => $store->url . "$PATIENT $keys");
        $machine->start;
    };

    $fresh->($a, 'key=new key=old');
    is(ask($a, 'rotate1'), 'AT-1', '... with the new one and the old one, what was sealed opens');
    is($endpoint->calls, 1, '... without a call');

    is(ask($a, 'rotate2'), 'AT-2', '... what is fetched is sealed with the new one');
    $fresh->($b, 'key=new key=old');
    is(ask($b, 'rotate2'), 'AT-2', '... which the other machine opens, as soon as it has both');

    $fresh->($_, 'key=new') for $a, $b;
    is(ask($a, 'rotate2'), 'AT-2', '... with the new one alone');
    is($endpoint->calls, 2, '... no more calls');
    is(ask($b, 'rotate1'), 'AT-1', '... and what was opened with the old one was sealed anew');
    is(scalar(() = map { $_->said(qr/token store/) } $a, $b), 0, '... nothing is logged');
    $_->stop for $a, $b;
}


# somebody who can write there
{
    $store->command('FLUSHALL');
    $endpoint->reset;
    $endpoint->answer(expires_in => 2);

    my ($a, $b) = machines('key=k', 'key=k');
    my $later = sub {
        my ($key) = @_;
        my $calls = $endpoint->calls;

        return (ask($b, $key), $endpoint->calls - $calls);
    };

    # what has expired is put back, with as much time as one likes
    ask($a, 'replay');
    my ($name) = keys_there(1);
    my %old = @{ $store->command('HGETALL', $name) };

    ok((wait_for { $store->command('EXISTS', $name) == 0 } 10), 'a token that has expired');
    $endpoint->answer(expires_in => 600);
    $store->command('HSET', $name, %old);
    $store->command('PEXPIRE', $name, 3_600_000);

    my $response = $b->get(0, '/token?key=replay');

    is($response->{status}, 200, '... is put back: callers are answered');
    unlike($response->{content}, qr/"AT-1"/, '... with another one');

    # one token's text in the place of another's
    $store->command('FLUSHALL');
    ask($a, 'mine');
    ($name) = keys_there(1);
    my %mine = @{ $store->command('HGETALL', $name) };
    ask($a, 'yours');
    my ($yours) = grep { $_ ne $name } keys_there(2);
    my $token = ask($a, 'mine');

    $store->command('DEL', $yours);
    $store->command('HSET', $yours, %mine);
    $store->command('PEXPIRE', $yours, 60_000);

    my ($got, $calls) = $later->('yours');

    isnt($got, $token, 'a text in another place: it is not that token');
    is($calls, 1, '... and a call is made');

    # ... with another serial
    $store->command('HSET', $name, 's', '9' x 16);
    ($got, $calls) = $later->('mine');
    isnt($got, $token, 'another serial: it is not that token');
    is($calls, 1, '... and a call is made');

    # a bit of it
    $store->command('FLUSHALL');
    ask($a, 'bit');
    ($name) = keys_there(1);
    my %bit = @{ $store->command('HGETALL', $name) };
    substr($bit{b}, length($bit{b}) / 2, 1) ^= "\x01";
    $store->command('HSET', $name, 'b', $bit{b});
    ($got, $calls) = $later->('bit');
    isnt($got, ask($a, 'bit'), 'one bit of it: it is not that token');
    is($calls, 1, '... and a call is made');

    # keys of other types
    for my $type (['SADD', 'x'], ['SET', 'x'], ['RPUSH', 'x']) {
        my $key = "type$type->[0]";

        $store->command('FLUSHALL');
        ask($a, $key);

        for my $name (map { s/:t$//r } keys_there(1)) {
            for my $part (qw(t l f)) {
                $store->command('DEL', "$name:$part");
                $store->command($type->[0], "$name:$part", $type->[1]);
            }
        }

        is($b->get(0, "/token?key=$key")->{status}, 200,
            "a key that $type->[0] made: a caller is answered");
    }

    is(scalar(() = map { $_->said(qr/\[(?:crit|alert|emerg)\]/) } $a, $b), 0,
        'nothing worse in the logs');
    $_->stop for $a, $b;
}
