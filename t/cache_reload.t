# Reload and binary upgrade: no caller notices, tokens stay, but none is served
# for a configuration that it was not fetched for.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 57;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

my $SECONDS = 8;

my $lasting = Token::Endpoint->new;
my $short = Token::Endpoint->new(expires_in => 2, delay => 0.1);

my $nginx = Token::Server->new(
    workers => 2,
    http => zone(),
    server => server(),
)->start;


# under load
{
    my $start = time;
    my @loads = (
        Token::Client->load($nginx->port, '/lasting', close => 1),
        Token::Client->load($nginx->port, '/lasting'),
        Token::Client->load($nginx->port, '/short'),
    );
    my $reloads = 0;

    while (time - $start < $SECONDS) {
        sleep 1;
        $nginx->reload;
        $reloads++;
    }

    my ($close, $keep, $renewed) = map { $_->stop } @loads;
    my $took = time - $start;

    for (['a connection each', $close], ['connections that are kept', $keep],
        ['a token that is renewed', $renewed])
    {
        my ($what, $result) = @$_;

        is($result->{failed}, 0, "$reloads reloads, $what: no request fails")
            or diag(explain $result->{why});
        cmp_ok($result->{requests}, '>', 100, "... of $result->{requests}");
    }

    is_deeply([keys %{ $close->{tokens} }], ['AT-1'], 'the token stays');
    is($lasting->calls, 1, '... without another call');

    cmp_ok($short->calls, '<=', int($took / 1) + 2,
        'one that lives for two seconds is renewed once a second')
        or diag(sprintf '%.1f s', $took);
    cmp_ok($short->calls, '>=', int($took / 2.4), '... and often enough');
}


# another configuration
my $token = token($nginx->get('/lasting'));

for my $case (
    ['secret', zone() =~ s/my-secret/your-secret/r],
    ['client id', zone() =~ s/my-key/your-key/r],
    ['scope', zone() . 'token_proxy_param scope other;'],
    ['cache key', zone() . 'token_proxy_cache_key other;'])
{
    my ($what, $http) = @$case;
    my %tokens;

    $nginx->configure(http => $http)->reload;
    $tokens{ token($nginx->get('/lasting')) // '' }++ for 1 .. 20;

    is(scalar(keys %tokens), 1, "another $what: a token");
    ok(!$tokens{$token}, '... not the one of before');

    $nginx->configure(http => zone())->reload;
    is(token($nginx->get('/lasting')), $token, 'as before: the token of before');
}


# another endpoint
$nginx->configure(server => server($lasting->url('/other')))->reload;
another($nginx->get('/lasting'), $token, 'another endpoint: another token');
$nginx->configure(server => server())->reload;


# what changes how a token is served does not change the token
$nginx->configure(http => zone() . 'token_proxy_fields *;')->reload;
is(token($nginx->get('/lasting')), $token, 'other fields: the same token');
is(member($nginx->get('/lasting'), 'token_type'), 'Bearer',
    '... with more members');


# another zone
$nginx->configure(http => zone('2m'))->reload;
{
    my $response = $nginx->get('/lasting');

    is(status($response), 'MISS', 'a zone of another size starts empty');
    another($response, $token, '... with another token');
    $token = token($response);
}

$nginx->configure(http => zone('2m'))->reload;
is(token($nginx->get('/lasting')), $token, '... and keeps it from then on');

$nginx->configure(http => zone() =~ s/zone=tokens/zone=other/r,
    server => server() =~ s/cache tokens/cache other/gr)->reload;
is(status($nginx->get('/lasting')), 'MISS', 'a zone of another name starts empty');

$nginx->configure(http => zone() =~ s/token_proxy_cache_zone.*\n//r,
    server => server() =~ s/cache tokens/cache off/gr)->reload;
is(status($nginx->get('/lasting')), 'BYPASS', 'no zone any more');

$nginx->configure(http => zone(), server => server())->reload;
is(status($nginx->get('/lasting')), 'MISS', 'a zone again');
$token = token($nginx->get('/lasting'));


# a configuration that is wrong changes nothing
$nginx->configure(http => zone() . 'token_proxy_refresh_before 200%;');
kill HUP => $nginx->pid;
ok(wait_for { $nginx->error_log =~ /"token_proxy_refresh_before" directive takes/ },
    'a wrong configuration');
is(token($nginx->get('/lasting')), $token, '... the token stays');
$nginx->configure(http => zone());


# a call that is under way when the workers are told to leave
{
    $lasting->reset;
    $lasting->answer(delay => 1.5);

    my $client = Token::Client->new($nginx->port);

    $client->send('/slow') for 1 .. 6;
    wait_for { $lasting->calls };
    $nginx->reload;
    $client->send('/slow') for 1 .. 6;

    my @got = $client->receive(6);
    my %pids = map { $_->{headers}{'x-pid'} => 1 } @got;

    is(scalar(grep { (token($_) // '') eq 'AT-1' } @got), 12,
        'a call that the old workers make is for the new ones too');
    is($lasting->calls, 1, '... and the only one');
    cmp_ok(scalar(keys %pids), '>', 1, '... of old and new workers');
    is(status($nginx->get('/slow')), 'HIT', '... and is kept');
}


# what failed before a reload is tried again after it
{
    $lasting->reset;
    $lasting->answer(status => 503, headers => ['Retry-After' => 3600]);

    is($nginx->get('/failing')->{status}, 503, 'an endpoint fails');
    is($nginx->get('/failing')->{status}, 503, '... and is left alone');
    is($lasting->calls, 1, '... for a minute');
    like($nginx->get('/status')->{content}, qr/"backoff_entries":1\b/,
        '... which the status says');

    $nginx->reload;
    like($nginx->get('/status')->{content}, qr/"backoff_entries":0\b/,
        'a reload ends it');
    is($nginx->get('/failing')->{status}, 503, '... it fails once more');
    is($nginx->get('/failing')->{status}, 503, '... and is left alone again');
    is($lasting->calls, 2, '... after one call');

    $lasting->answer();
    $nginx->reload;
    is(status($nginx->get('/failing')), 'MISS', 'another reload: a token');
    is($lasting->calls, 3, '... of one call');
}


# a call of the old workers that fails after the reload
{
    $lasting->reset;
    $lasting->answer();
    $lasting->next({ status => 500, delay => 1.5 });

    my $client = Token::Client->new($nginx->port);

    $client->send('/outlasts');
    wait_for { $lasting->calls };
    $nginx->reload;
    $client->send('/outlasts') for 1 .. 5;

    my @got = $client->receive(6);

    is($got[0]{status}, 502, 'a call of the old workers fails');
    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 5,
        '... which is not held against the new configuration')
        or diag(explain [map { $_->{status} } @got]);
    is($lasting->calls, 2, '... with one call more');
    is(status($nginx->get('/outlasts')), 'HIT', '... whose token is kept');
}


# an upgrade is another nginx with a zone of its own
{
    $lasting->reset;
    $lasting->answer();

    my $start = time;

    $nginx->upgrade;

    my $response = $nginx->get('/lasting');

    is(status($response), 'MISS', 'after an upgrade the zone is empty');
    is(token($response), 'AT-1', '... and is filled');

    my $client = Token::Client->new($nginx->port);

    $lasting->answer(delay => 0.3);
    $client->send('/upgraded') for 1 .. 20;

    is(scalar(grep { (token($_) // '') eq 'AT-2' } $client->receive(5)), 20,
        '... and workers wait for one another');
    is($lasting->calls, 2, '... one call');
}


no_secrets($nginx, qr/your-secret/);
$nginx->stop('QUIT');
unlike($nginx->error_log, qr/\[(?:alert|crit)\]|open socket/,
    'no worker left a trace') or diag(grep { /\[(?:alert|crit)\]/ }
        map { "$_\n" } split /\n/, $nginx->error_log);


sub server {
    my ($url) = @_;

    return join '',
        location('lasting', $url // $lasting->url),
        location('slow', $lasting->url('/slow')),
        location('upgraded', $lasting->url('/upgraded')),
        location('failing', $lasting->url('/failing'),
            'token_proxy_retry_backoff 60s 60s'),
        location('outlasts', $lasting->url('/outlasts'),
            'token_proxy_retry_backoff 60s 60s'),
        "location = /status { token_proxy_status; }\n",
        location('short', $short->url);
}
