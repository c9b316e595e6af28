#!/usr/bin/perl

# A store whose name has two addresses, of which the first does not answer.

use strict;
use warnings;

use lib 't/lib';

use IO::Socket::INET;
use Test::More;
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw($ROOT preload wait_for work_dir);

my $two = preload("$ROOT/t/names/two.c", work_dir());

plan(skip_all => 'no compiler, for a name with two addresses') if !$two;
plan(tests => 12);

my $endpoint = Token::Endpoint->new;

for my $silent (1, 0) {
    my $name = $silent ? 'nothing comes from an address' : 'an address is deaf';
    my $store = Token::Redis->new(config => ['bind 127.0.0.2'])->start;
    my $first = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $store->port, Listen => 1) // die "listen: $!\n";
    my @waiting;

    if ($silent) {

        # Linux drops what comes when so many wait to be accepted.
        listen $first, 0 or die "listen: $!\n";
        @waiting = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $store->port, Proto => 'tcp', Blocking => 0) } 1 .. 4;
    }

    # With limits that no delay of this machine is taken for.
    my $fleet = Token::Fleet->new(
        machines => 2, workers => 1, env => { LD_PRELOAD => $two },
        store => 'redis://two.test:' . $store->port . ' connect_timeout=2s timeout=2s',
        server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
    )->start;

    ok((wait_for { $store->info('clients')->{connected_clients} >= 3 } 20),
        "$name: both machines use the other one");

    my $before = $endpoint->calls;
    my @got = map { token($fleet->get($_, "/token?key=$silent")) } 0, 1;

    ok(defined $got[0] && $got[0] eq $got[1], "$name: they share a token");
    is($endpoint->calls, $before + 1, "$name: ... of one call");

    my @said = $fleet->said(qr/token store/);
    my $why = $silent ? qr/no connection was made in time/
        : qr/it did not answer in time/;

    is(scalar(grep { /is not used for now/ && $_ =~ $why } @said), 2,
        "$name: each log says once why it was not used");
    is(scalar(grep { /is used again/ } @said), 2, "$name: ... and that it is used");

    $fleet->reload;
    ok((wait_for { $fleet->said(qr/is used again/) == 4 } 20),
        "$name: so it is after a reload");
    $fleet->stop;
}
