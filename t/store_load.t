# Load over ten lifetimes of a token, on three machines, while the store is
# killed twice and frozen once. STORE_SECONDS=60 is the long version.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 14;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(wait_for);

my $seconds = $ENV{STORE_SECONDS} // 16;

# renewed at half of it
my $lifetime = int($seconds / 10 + 0.9);
$lifetime = 2 if $lifetime < 2;

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new(expires_in => $lifetime, delay => 0.3);
my $fleet = Token::Fleet->new(
    machines => 3,
    store => $store->url,
    server => location('token', $endpoint->url),
)->start;

$fleet->at_once('/token', 5);
is($endpoint->calls, 1, 'the first token is fetched once');
$endpoint->reset;

my $load = $fleet->load('/token', seconds => $seconds + 60);
my $start = time;
my @phases;

# What happens, and what part of the time it lasts.
for (
    ['all is well', 0.2, sub { }],
    ['the store is killed', 0.15, sub { $store->kill }],
    ['it is back, and empty', 0.15, sub { $store->empty->start }],
    ['it is frozen', 0.15, sub { $store->freeze }],
    ['it goes on', 0.1, sub { $store->thaw }],
    ['it is killed again', 0.1, sub { $store->command('SAVE'); $store->kill }],
    ['it is back, with what it had', 0.15, sub { $store->start }],
) {
    my ($name, $part, $do) = @$_;
    my ($before, $began) = ($endpoint->calls, time);

    $do->();
    sleep $part * $seconds;

    push @phases, { name => $name, calls => $endpoint->calls - $before,
        time => time - $began };
}

my $result = $load->();
my $took = time - $start;

cmp_ok($result->{requests}, '>', 20 * $seconds, 'there is load');
is($result->{failed}, 0, '... nobody fails') or diag(explain($result->{why}));
cmp_ok($result->{slowest}, '<', 1, '... nobody waits for a second');

# A renewal is due after half of the lifetime at the earliest. One may have
# begun before a phase. A machine that has missed the store for a moment has
# a token of its own until the next renewal.
for my $phase (@phases) {
    my $renewals = int($phase->{time} / ($lifetime / 2)) + 1;

    cmp_ok($phase->{calls}, '<=', 3 * $renewals,
        "$phase->{name}: a call for each machine and renewal at most");
}

# when the store has been there for a while; a machine that was busy for longer
# than it waits for the store has made a call of its own
cmp_ok($phases[0]{calls}, '<=', int($phases[0]{time} / ($lifetime / 2)) + 2,
    'with the store, a call for each renewal');

# three machines, three times
my ($gone, $back);

ok((wait_for {
    $gone = () = $fleet->said(qr/token store .* is not used for now/);
    $back = () = $fleet->said(qr/token store .* is used again/);
    $gone == $back;
} 10), 'as many lines in the logs when it is back');
cmp_ok($gone, '<=', 12, '... as when it has gone, one on each machine')
    or diag($fleet->said(qr/token store/));

note(sprintf '%s: %d calls in %.1f s', @$_{qw(name calls time)}) for @phases;
note(sprintf '%d requests, %d failed, the slowest %.0f ms, %d tokens in %.1f s',
    @$result{qw(requests failed)}, 1000 * $result->{slowest},
    scalar keys %{ $result->{tokens} }, $took);
