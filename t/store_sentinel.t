# A store whose master the sentinels name, and which fails over under load.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 17;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(wait_for);

my $group = Token::Redis->group;
my $endpoint = Token::Endpoint->new(expires_in => 2, delay => 0.1);
my $fleet = Token::Fleet->new(
    machines => 2,
    store => $group->url,
    server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
)->start;


# Both machines have the same token that nobody had before.
sub shared {
    my $key = rand;
    my @tokens = map { token($fleet->get($_, "/token?key=$key")) // "none $_" } 0, 1;

    return $tokens[0] eq $tokens[1];
}


ok((wait_for { shared() } 10), 'the sentinels name a store: it is used');

my $master = $group->master;
my $load = $fleet->load('/token?key=load');

# the master dies
{
    my $start = time;

    $master->kill;
    ok((wait_for { my $now = $group->master; $now && $now != $master } 20),
        'the master dies: the sentinels name another one');
    ok((wait_for { shared() } 20), '... which is used');
    note(sprintf 'after %.1f s', time - $start);

    my ($new) = grep { $_ != $master } $group->master;

    cmp_ok($new->calls('evalsha') + $new->calls('eval'), '>', 0, '... for its scripts');
}

# one of the sentinels, too
{
    ($group->sentinels)[0]->stop;
    $fleet->reload;
    ok((wait_for { shared() } 10), 'a sentinel dies: new workers ask another one');
    ($group->sentinels)[0]->start;
}

# a failover that somebody wants: the old master lives on, as a replica
{
    $master->start;
    ok((wait_for { $master->info('replication')->{role} eq 'slave'
        && $master->info('replication')->{master_link_status} eq 'up' } 30),
        'the old master is back, as a replica');

    my $now = $group->master;

    wait_for { eval { ($group->sentinels)[1]->command('SENTINEL', 'FAILOVER', 'tokens') } } 15;
    ok((wait_for { my $new = $group->master; $new && $new != $now } 20),
        'a failover by hand: the other one is the master');
    ok((wait_for { shared() } 20), '... and is used');
}

my $result = $load->();

cmp_ok($result->{requests}, '>', 500, 'all the while there is load');
is($result->{failed}, 0, '... nobody fails') or diag(explain($result->{why}));
cmp_ok($result->{slowest}, '<', 2, '... nobody waits long');
note(sprintf 'slowest %.3f s of %d', @$result{qw(slowest requests)});

# no sentinel is there
{
    $_->stop for $group->sentinels;
    $fleet->reload;

    my @got = map { $fleet->get($_ % 2, "/token?key=none$_") } 1 .. 10;

    is(scalar(unanswered(@got)), 0, 'no sentinel answers: callers have a token each');
    cmp_ok(scalar(() = $fleet->said(qr/none of its sentinels answers/)), '>', 0,
        '... and the log tells why');
}

# a name that they do not know
{
    $_->start for $group->sentinels;
    $fleet->configure(store => $group->url =~ s{/tokens$}{/others}r);
    $fleet->reload;

    my @got = map { $fleet->get($_ % 2, "/token?key=name$_") } 1 .. 4;

    is(scalar(unanswered(@got)), 0, 'sentinels that know no such master: a token each');
    cmp_ok(scalar(() = $fleet->said(qr/its sentinels know no such master/)), '>', 0,
        '... and the log tells why');
}

is(scalar(() = $fleet->said(qr/\[(?:crit|alert|emerg)\]/)), 0, 'nothing worse in the logs');
is(scalar(map { $_->workers } $fleet->machines), 4, '... and all workers are there');
