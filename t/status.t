# token_proxy_status: what an operator sees.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 84;
use JSON::PP qw(decode_json);
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($ROOT slurp spew wait_for);

my $endpoint = Token::Endpoint->new;
my $host = '127.0.0.1:' . $endpoint->port;
my @hosts = map { Token::Endpoint->new } 1 .. 17;
my $more = 'more' . 'x' x 300;

my $nginx = Token::Server->new(
    http => zone() . "token_proxy_cache_zone zone=$more:256k;\n"
        . "token_proxy_cache_zone zone=granted:64k;\n"
        . "token_proxy_cache_zone zone=unused:64k;\n",
    server => join('',
        location('token', $endpoint->url('/secret-path?secret=query'),
            'token_proxy_cache_key "$arg_key"', 'token_proxy_lock_timeout 3s',
            'token_proxy_retry_backoff 60s 60s', 'proxy_read_timeout 2s'),
        (map { location("more$_", $hosts[$_]->url, "token_proxy_cache $more") }
            0 .. $#hosts),
        location('granted', $endpoint->url, 'token_proxy_cache granted',
            'token_proxy_methods GET POST', 'token_proxy_refresh_grant on'),
        'location = /status { token_proxy_status; }',
        'location = /page.html { ssi on; }',
    ),
)->start;

spew($nginx->dir . '/html/page.html', '<!--#include virtual="/status" -->');


# before anything
{
    my $got = $nginx->get('/status');
    my $status = decode_json($got->{content});

    is($got->{status}, 200, 'an answer');
    is($got->{headers}{'content-type'}, 'application/json', '... in JSON');
    is_deeply([sort keys %{ $status->{zones} }], ['granted', $more, 'tokens', 'unused'],
        '... of all zones');
    is_deeply($status->{zones}{unused}{endpoints}, {}, '... without endpoints');
    is($status->{zones}{tokens}{size_bytes}, 1 << 20, '... and their sizes');
    promtool('an unused cache');
}


# counts
{
    $nginx->get('/token?key=a') for 1 .. 4;
    is_deeply(counts(), { hits => 3, misses => 1, waits => 0, rejects => 0,
        refreshes => 0 }, 'one miss, three hits');

    my $at = endpoint();
    is($at->{fetches}{ok}, 1, '... one fetch');
    is($at->{tokens}, 1, '... one token');
    cmp_ok($at->{earliest_expiry_seconds}, '>', 3590, '... that expires');
    cmp_ok($at->{earliest_expiry_seconds}, '<=', 3600, '... in an hour');
    is($at->{backoff_entries}, 0, '... no backoff');

    $endpoint->answer(delay => 1.5);

    my $client = Token::Client->new($nginx->port);
    $client->send('/token?key=b') for 1 .. 5;
    $client->receive(5);
    is_deeply(counts(), { hits => 3, misses => 2, waits => 4, rejects => 0,
        refreshes => 0 }, 'one more miss, four who wait');
    cmp_ok(endpoint()->{fetch_seconds}, '>=', 1.5, '... the endpoint\'s time');

    $endpoint->answer(expires_in => 4);
    $nginx->get('/token?key=c');
    sleep 2.3;
    $nginx->get('/token?key=c');
    ok(wait_for { endpoint()->{fetches}{ok} == 4 }, 'a refresh ahead');
    is(counts()->{refreshes}, 1, '... is one');
    cmp_ok(endpoint()->{earliest_expiry_seconds}, '<=', 4, '... expires first');

    $endpoint->answer();

    my %failures = (refused => { status => 401 }, busy => { status => 503 },
        broken => { status => 500 }, invalid => { body => 'x' },
        unreachable => { close => 1 }, incomplete => { truncate => 1 },
        timeout => { delay => 3 });

    for my $kind (sort keys %failures) {
        $endpoint->next($failures{$kind});
        $nginx->get("/token?key=$kind");
        $nginx->get("/token?key=$kind");
    }

    my $fetches = endpoint()->{fetches};

    for my $kind (sort grep { $_ ne 'unreachable' } keys %failures) {
        is($fetches->{$kind}, 1, "a failure: $kind");
    }

    is($fetches->{unreachable}, 1, 'a failure: unreachable')
        or diag(explain $fetches);
    is(counts()->{rejects}, 7, 'rejected while in backoff');
    is(endpoint()->{backoff_entries}, 7, 'token requests in backoff');
    is(decode_json($nginx->get('/status')->{content})->{zones}{tokens}{entries},
        10, 'entries');
}


# many endpoints
{
    $nginx->get("/more$_") for 0 .. $#hosts;

    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{$more};
    my @names = sort keys %{ $zone->{endpoints} };

    is(scalar(@names), 16, 'seventeen endpoints: sixteen names');
    is($names[-1], 'others', '... the last one is "others"');
    is($zone->{endpoints}{others}{misses}, 2, '... for the rest');
    is($zone->{entries}, 17, '... all are entries');
    promtool('a zone with a long name');
}


# grants of callers pass the cache by
{
    $endpoint->reset;
    $endpoint->next({}, { status => 400, body => '{"error":"invalid_grant"}' });

    for my $status (200, 400) {
        is($nginx->request(POST => '/granted',
            { 'Content-Type' => 'application/x-www-form-urlencoded' },
            'grant_type=refresh_token&refresh_token=a')->{status}, $status,
            "a refresh grant: $status");
    }

    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{granted};
    my $counts = $zone->{endpoints}{$host};

    is($zone->{entries}, 0, '... is no entry');
    is($counts->{misses}, 0, '... no caller of the cache');
    is($counts->{fetches}{ok}, 1, '... but a fetch');
    is($counts->{fetches}{invalid_grant}, 1, '... and one that a caller is to blame for');
    is($counts->{fetches}{refused}, 0, '... which is no fault of the client');
}


# calls that go on, whoever asks and whoever answers
{
    my $slow = Token::Server->new(
        workers => 2,
        listen => 'reuseport',
        log_level => 'info',
        http => zone(),
        server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'proxy_read_timeout 20s', 'token_proxy_retry_backoff 60s 60s')
            . 'location = /status { token_proxy_status; add_header X-Pid $pid; }',
    )->start;

    $slow->get('/token?key=first');
    is(fetching($slow), 0, 'fetching: nothing');

    $endpoint->answer(delay => 2);

    my $client = Token::Client->new($slow->port);
    $client->send('/token?key=' . $_ % 2) for 1 .. 10;

    ok((wait_for { fetching($slow) == 2 }), '... two calls for ten callers');

    my %pids;
    ok((wait_for { $pids{ $slow->get('/status')->{headers}{'x-pid'} }
        = fetching($slow); keys %pids == 2 }), '... asked of both workers');
    is_deeply([values %pids], [2, 2], '... which say the same');
    like($slow->get('/status?format=prometheus')->{content},
        qr/^token_proxy_fetching\{zone="tokens",endpoint="\Q$host\E"\} 2$/m,
        '... and for Prometheus');

    is(scalar(grep { ($_->{status} // 0) == 200 } $client->receive(10)), 10,
        '... and then ten tokens');
    is(fetching($slow), 0, '... and nothing goes on');

    $endpoint->next({ status => 500 });
    is($slow->get('/token?key=broken')->{status}, 502, 'fetching: a call that fails');
    is(fetching($slow), 0, '... goes on no more');

    # the worker that fetches does not come to end its call
    $endpoint->answer(delay => 20);
    $client->send('/token?key=killed');
    ok((wait_for { fetching($slow) == 1 }), 'fetching: a call');

    my @workers = $slow->workers;
    kill KILL => @workers;

    wait_for { my %old = map { $_ => 1 } @workers;
        grep({ !$old{$_} } $slow->workers) == 2 } or diag('no new workers');
    ok((wait_for { fetching($slow) == 0 } 10), '... of a worker that is killed');

    my $zone = decode_json($slow->get('/status')->{content})->{zones}{tokens};
    is($zone->{entries}, 5, '... and the zone is the same');

    $slow->stop;
    $endpoint->reset;
    $endpoint->answer();
}


# how it is asked for
{
    my $text = $nginx->get('/status?format=prometheus');

    like($text->{content}, qr/^# HELP token_proxy_/m, '?format=prometheus');
    like($text->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4},
        '... has its type');
    like($text->{content},
        qr/^token_proxy_requests_total\{zone="tokens",endpoint="\Q$host\E",status="hit"\} \d+$/m,
        '... requests');

    for my $accept ('text/plain', 'application/openmetrics-text; version=1.0.0',
        'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1')
    {
        like($nginx->get('/status', Accept => $accept)->{content}, qr/^# HELP/,
            "Accept: $accept");
    }

    for my $accept ('application/json', '*/*', 'text/html',
        'application/json, text/plain, */*')
    {
        like($nginx->get('/status', Accept => $accept)->{content}, qr/^\{/,
            "Accept: $accept");
    }

    like($nginx->get('/status?format=json', Accept => 'text/plain')->{content},
        qr/^\{/, '?format=json');

    my $head = $nginx->request(HEAD => '/status', {});
    is($head->{status}, 200, 'HEAD');
    is($head->{content} // '', '', '... without a body');
    cmp_ok($head->{headers}{'content-length'}, '>', 100, '... of some length');

    for my $method (qw(POST PUT DELETE)) {
        my $got = $nginx->request($method => '/status', {});

        is($got->{status}, 405, $method);
        is($got->{headers}{allow}, 'GET, HEAD', '... tells what is allowed');
    }

    like($nginx->get('/page.html')->{content}, qr/^\{"version":"[\d.]+","zones"/, 'SSI');

    # buckets are cumulative, and the last one has them all
    my $kind = qr/zone="tokens",endpoint="\Q$host\E"/;
    my @buckets = $text->{content}
        =~ /^token_proxy_fetch_duration_seconds_bucket\{$kind,le="[^"]+"\} (\d+)/mg;
    my ($count) = $text->{content}
        =~ /^token_proxy_fetch_duration_seconds_count\{$kind\} (\d+)/m;

    is(scalar(@buckets), 11, 'a histogram');
    is_deeply(\@buckets, [sort { $a <=> $b } @buckets], '... that only grows');
    is($buckets[-1], $count, '... to all');

    for my $path ('/status', '/status?format=prometheus') {
        unlike($nginx->get($path)->{content},
            qr/[AR]T-\d|my-secret|my-key|secret-path|query/,
            "$path: no token, no secret, no path");
    }

    promtool('a used cache');
}


# what is in docs/
SKIP: {
    skip('no promtool', 2) if !has_promtool();

    my $output = `promtool check rules '$ROOT/docs/alerts.yml' 2>&1`;
    is($?, 0, 'promtool check rules docs/alerts.yml') or diag($output);

    $output = `promtool test rules '$ROOT/t/alerts_test.yml' 2>&1`;
    is($?, 0, 'promtool test rules t/alerts_test.yml') or diag($output);
}

{
    my $board = eval { decode_json(slurp("$ROOT/docs/grafana-dashboard.json")) };
    my %metrics = map { $_ => 1 } $nginx->get('/status?format=prometheus')
        ->{content} =~ /^# TYPE (\w+)/mg;
    my $used = slurp("$ROOT/docs/grafana-dashboard.json")
        . slurp("$ROOT/docs/alerts.yml");

    ok($board && @{ $board->{panels} }, 'docs/grafana-dashboard.json is JSON');

    my @names = $used =~ /\b(token_proxy_\w+)(?=[\[{\s)])/g;

    cmp_ok(scalar(@names), '>', 20, '... and has metrics, as docs/alerts.yml');
    is_deeply([grep { !$metrics{$_} && !$metrics{s/_(?:bucket|sum|count)$//r} }
        @names], [], '... which nginx has');
}

$nginx->stop('QUIT');
no_secrets($nginx);


sub endpoint {
    return decode_json($nginx->get('/status')->{content})
        ->{zones}{tokens}{endpoints}{$host};
}

sub fetching {
    my ($server) = @_;

    return decode_json($server->get('/status')->{content})
        ->{zones}{tokens}{endpoints}{$host}{fetching};
}

sub counts {
    my $at = endpoint();

    return { map { $_ => $at->{$_} } qw(hits misses waits rejects refreshes) };
}

sub has_promtool { return system('command -v promtool > /dev/null') == 0 }

sub promtool {
    my ($what) = @_;

    SKIP: {
        skip('no promtool', 1) if !has_promtool();

        my $file = spew($nginx->dir . '/metrics',
            $nginx->get('/status?format=prometheus')->{content});
        my $output = `promtool check metrics < $file 2>&1`;

        is("$?$output", '0', "promtool check metrics: $what");
    }

    return;
}
