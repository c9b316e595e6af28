# What comes from a store that is none, or not well, and a connection that
# breaks anywhere: no caller goes without a token, and no worker dies.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Cutter;
use Token::Endpoint;
use Token::Fleet;
use Token::OddStore;
use Token::Redis;
use Token::Server;
use Token::Util qw(wait_for);

my @kinds = Token::OddStore->kinds;
my @all = ('HTTP', 'WRONGPASS', 'LOADING', 'an alert of TLS', 'a push of RESP3',
    'nested without end', 'a line without end', 'a thousand replies', 'no array',
    'an array without end', 'zeros', 'closes');
my @first = ('a simple string', 'a thousand replies', 'HTTP', 'noise');
my @plan = ((map { [$_, 'script'] } @kinds), (map { [$_, 'all'] } @all),
    (map { [$_, 'first'] } @first));

die "fewer than 20 kinds\n" if @kinds < 20;

plan(tests => 3 * @plan + 3 + 7);

my $store = Token::Redis->new->start;
my $odd = Token::OddStore->new($store);
my $endpoint = Token::Endpoint->new;
my $nginx = Token::Server->new(
    log_level => 'info',
    http => zone() . 'token_proxy_cache_store ' . $odd->url . ';',
    server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
)->start;


# A worker of its own for each, which knows of nothing yet: a breaker that is
# open would keep it from the next one.
for my $number (0 .. $#plan) {
    my ($kind, $when) = @{ $plan[$number] };
    my $before = length $nginx->error_log;

    $odd->be($kind, $when);
    $nginx->reload;

    my $seen = $odd->seen->{odd};
    my @workers = $nginx->workers;
    my $client = Token::Client->new($nginx->port);

    $client->send("/token?key=$number-$_") for 1 .. 3;

    my @got = $client->receive(10);

    # what was not asked for comes before
    wait_for { $odd->seen->{odd} > 0 } 5;

    my $log = substr $nginx->error_log, $before;
    my @lines = grep { /\[(?:warn|error|crit|alert|emerg)\]/ } split /\n/, $log;
    my $name = $when eq 'script' ? $kind : "$kind, $when";

    is_deeply([map { $_->{status} } @got], [200, 200, 200], "$name: tokens")
        or diag(explain(\@got), $log);
    is(scalar(grep { /STOLEN/ } map { $_->{content} } @got), 0,
        '... of the endpoint');
    ok(@lines <= 3 && !grep({ /\[(?:crit|alert|emerg)\]|STOLEN|[^\x20-\x7e]/ } @lines)
        && "@workers" eq join(' ', $nginx->workers), '... and hardly a line in the log')
        or diag(scalar(@lines), " lines\n", join "\n", @lines[0 .. ($#lines > 5 ? 5 : $#lines)]);
}

cmp_ok($odd->seen->{odd}, '>=', @plan - 2, 'the odd ones were there');


# as it should be
{
    $odd->be;
    $nginx->reload;

    my $before = $store->calls('evalsha') + $store->calls('eval');

    is($nginx->get('/token?key=well')->{status}, 200, 'in the end it is well');
    cmp_ok($store->calls('evalsha') + $store->calls('eval'), '>', $before, '... and used');
    $nginx->stop;
}


# connections that break
{
    my $cutter = Token::Cutter->new($store->port, upto => 4000);

    diag('connections are cut: TOKEN_SEED=' . $cutter->seed);
    $endpoint->reset;
    $endpoint->answer(expires_in => 2);

    my $fleet = Token::Fleet->new(
        machines => 2, store => 'redis://127.0.0.1:' . $cutter->port,
        server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
    )->start;
    my @workers = map { $_->workers } $fleet->machines;
    my @loads = map { $fleet->load("/token?key=$_") } 'a' .. 'c';
    my $end = time + 6;
    my $n = 0;

    while (time < $end) {
        $fleet->get($n % 2, '/token?key=' . $n++);
        sleep 0.02;
    }

    my @results = map { $_->() } @loads;

    cmp_ok($_->{requests}, '>', 200, 'connections that break, under load') for $results[0];
    is(scalar(grep { $_->{failed} } @results), 0, '... nobody fails')
        or diag(explain([map { $_->{why} } @results]));
    cmp_ok($cutter->cuts, '>', 3, '... though some break');
    note($cutter->cuts . ' cuts');

    $cutter->mend;
    $endpoint->reset;
    ok((wait_for { my $key = 'mended' . rand;
        my $token = token($fleet->get(0, "/token?key=$key"));
        $token eq token($fleet->get(1, "/token?key=$key")) } 10), '... when none does, it is used');

    is(join(' ', map { $_->workers } $fleet->machines), "@workers", '... by the same workers');
    is(scalar(() = $fleet->said(qr/\[(?:crit|alert|emerg)\]/)), 0, '... nothing worse in the logs');
    ok((wait_for { $store->clients <= 4 } 10), '... and with no more connections than workers');
    $fleet->stop;
}
