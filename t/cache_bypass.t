# token_proxy_cache_bypass: a token that is renewed now, since it was revoked
# before its end.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 52;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport',
    http => zone(),
    server => join('',
        location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_cache_bypass $http_x_renew $arg_renew',
            'token_proxy_retry_backoff 60s 60s'),
        location('short', $endpoint->url, 'token_proxy_cache_key "short$arg_key"',
            'token_proxy_cache_bypass $arg_renew',
            'token_proxy_retry_backoff 1ms 1ms'),
        location('plain', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
        location('uncached', $endpoint->url, 'token_proxy_cache off',
            'token_proxy_cache_bypass $arg_renew'),
        'location /api/ { token_proxy_bearer /short; proxy_pass http://127.0.0.1:'
            . $api->port . '; }',
        'location = /status { token_proxy_status; access_log off; }',
    ),
)->start;


# who asks for it gets a new one, and so does everybody after that
{
    my $first = $nginx->get('/token?key=a');

    is(status($first), 'MISS', 'the first token');

    for my $value ('', '0') {
        my $got = $nginx->get('/token?key=a', $value eq '' ? () : ('X-Renew' => $value));

        is(token($got), token($first), "a value that is '$value': the same token");
        is(status($got), 'HIT', '... HIT');
    }

    sleep 1.1;

    my $new = $nginx->get('/token?key=a', 'X-Renew' => 'yes');

    another($new, token($first), 'another value: a new token');
    is(status($new), 'BYPASS', '... BYPASS');
    is($new->{headers}{'x-calls'}, 200, '... of a call');
    is(token($nginx->get('/token?key=a')), token($new), '... which is kept');
    is(token($nginx->get('/plain?key=a')), token($new), '... for other locations');

    sleep 1.1;
    $new = $nginx->get('/token?key=a&renew=1');
    is(status($new), 'BYPASS', 'the second of two values');

    is($endpoint->calls, 3, 'so many calls');
}


# where there is no token, it is a miss
{
    is(status($nginx->get('/token?key=none&renew=1')), 'MISS', 'no token yet: MISS');
    is(status($nginx->get('/uncached?renew=1')), 'BYPASS', 'no cache: BYPASS');
}


# not for each caller who is in a hurry
{
    $nginx->get('/short?key=often');
    sleep 1.1;
    $endpoint->reset;

    my $begin = time;
    my %tokens;

    $tokens{ token($nginx->get('/short?key=often&renew=1')) }++ for 1 .. 40;

    my $seconds = time - $begin;

    cmp_ok($endpoint->calls, '>=', 1, 'forty callers, one after the other: a call');
    cmp_ok($endpoint->calls, '<=', 1 + $seconds, '... and one a second at most');
    is(scalar(keys %tokens), $endpoint->calls, '... and each gets a new token');

    ok((wait_for { status($nginx->get('/short?key=often&renew=1')) eq 'BYPASS' } 5),
        '... and a second later the next one');

    # failures as well
    sleep 1.1;
    $endpoint->reset;
    $endpoint->answer(status => 500);
    $begin = time;

    my %statuses;
    $statuses{ $nginx->get('/short?key=often&renew=1')->{status} }++ for 1 .. 40;

    $seconds = time - $begin;
    cmp_ok($endpoint->calls, '<=', 1 + $seconds, 'a call that fails: one a second');
    is($statuses{502}, $endpoint->calls, '... whose callers see it');
    is($statuses{503}, 40 - $endpoint->calls, '... and so do the others');

    $endpoint->answer();
}


# many at the same time
{
    my $before = token($nginx->get('/token?key=many'));

    sleep 1.1;
    $endpoint->reset;
    $endpoint->answer(delay => 1);

    my $client = Token::Client->new($nginx->port);

    $client->send('/token?key=many&renew=1') for 1 .. 20;
    wait_for { $endpoint->calls } or diag('no call');

    my $other = $nginx->get('/token?key=many');

    my @got = $client->receive(10);
    my (%tokens, %statuses, %pids);

    for (@got) {
        $tokens{ token($_) // $_->{status} // '' }++;
        $statuses{ status($_) // '' }++;
        $pids{ $_->{headers}{'x-pid'} // '' }++;
    }

    is(scalar(keys %pids), 2, 'twenty callers in two workers');
    is($endpoint->calls, 1, '... one call');
    is_deeply(\%tokens, { 'AT-1' => 20 }, '... and all have the new token');
    is_deeply(\%statuses, { BYPASS => 1, WAIT => 19 }, '... one of them caused it')
        or diag(explain \%statuses);
    is(token($other), $before, 'who did not ask for a new one gets the current one');
    is(status($other), 'HIT', '... at once');

    $endpoint->answer();
}


# the endpoint fails: who wanted a new token sees it
{
    my $before = token($nginx->get('/token?key=fails'));

    sleep 1.1;
    $endpoint->reset;
    $endpoint->answer(delay => 1, status => 500);

    my $client = Token::Client->new($nginx->port);

    $client->send('/token?key=fails&renew=1') for 1 .. 12;
    my @got = $client->receive(10);
    my (%statuses, %pids);

    for (@got) {
        $statuses{ $_->{status} // '' }++;
        $pids{ $_->{headers}{'x-pid'} // '' }++;
    }

    is(scalar(keys %pids), 2, 'the endpoint fails, in two workers');
    is_deeply(\%statuses, { 502 => 12 }, '... and all who wanted a new token see it')
        or diag(explain \%statuses);
    is($endpoint->calls, 1, '... of one call');

    my $later = $nginx->get('/token?key=fails&renew=1');

    is($later->{status}, 503, '... who comes in the backoff, too');
    cmp_ok($later->{headers}{'retry-after'}, '>=', 50, '... with Retry-After');
    is(token($nginx->get('/token?key=fails')), $before,
        '... and others get the current token');
    is($endpoint->calls, 1, '... and there was no other call');

    $endpoint->answer();
}


# a new token that cannot be kept
{
    my $before = token($nginx->get('/short?key=unkept'));

    sleep 1.1;
    $endpoint->next({ expires_in => 0 });

    my $got = $nginx->get('/short?key=unkept&renew=1');

    is($got->{status}, 200, 'a new token that cannot be kept: it is served');
    another($got, $before, '... to who wanted it');
    is(token($nginx->get('/short?key=unkept')), $before, '... and nobody else');
}


# the worker that has it renewed is killed: another one does it
{
    my $before = token($nginx->get('/token?key=killed'));

    sleep 1.1;
    $endpoint->reset;
    $endpoint->next({ delay => 30 });

    my $client = Token::Client->new($nginx->port);

    $client->send('/token?key=killed&renew=1') for 1 .. 20;
    wait_for { $endpoint->calls } or diag('no call');

    # the last one that has connected to the endpoint
    my $port = $endpoint->port;
    my ($holder) = reverse $nginx->error_log
        =~ /\[debug\] (\d+)#.* connect to 127\.0\.0\.1:$port,/g;

    ok($holder, 'the worker that renews a token is killed');
    kill KILL => $holder if $holder;

    my @got = grep { $_->{status} } $client->receive(10);
    my %tokens = map { (token($_) // '') => 1 } @got;

    cmp_ok(scalar(@got), '>', 0, '... callers of the other one wait');
    is_deeply(\%tokens, { 'AT-2' => 1 }, '... and get the new token')
        or diag(explain \%tokens);
}


# a token that was revoked is not the one before
{
    $api->reset;
    $endpoint->reset;
    $nginx->get('/api/');
    sleep 1.1;

    is($nginx->get('/api/?renew=1')->{status}, 200, 'token_proxy_bearer');

    $api->next({ status => 401 });
    is($nginx->get('/api/')->{status}, 200, '... and the API refuses the new one');

    is_deeply([map { /^Authorization: Bearer (\S+)\r$/m } $api->requests],
        [map { "AT-$_" } 1, 2, 2, 3], '... the one before is not used again');

    # what nginx does for others: the one before is used
    $endpoint->answer(expires_in => 10);
    $nginx->get('/api/?key=before');
    $endpoint->answer();
    wait_for { $nginx->get('/api/?key=before'); sleep 0.1; $endpoint->calls == 5 } 9;
    wait_for { $nginx->get('/status')->{content} =~ /"fetching":0/ };

    $api->reset;
    $api->next({ status => 401 });
    $nginx->get('/api/?key=before');
    is_deeply([map { /^Authorization: Bearer (\S+)\r$/m } $api->requests],
        [map { "AT-$_" } 5, 4], '... as it is after other renewals');
}


# nginx -t
{
    my $url = $endpoint->url;
    my $check = sub {
        my ($http, @directives) = @_;
        my ($status, $output) = Token::Server->new(http => zone() . $http,
            server => "location = /t { token_proxy on; token_proxy_endpoint $url; "
                . join('', map { "$_; " } @directives) . '}')->test;

        return "$status " . join ' ', $output =~ /\[(?:warn|emerg)\].*/g;
    };

    like($check->('', 'token_proxy_cache_bypass $arg_a'),
        qr/^0 \[warn\].*"token_proxy_cache_bypass" is of no use in location "\/t", which has no "token_proxy_cache" in .*:\d+$/,
        'nginx -t warns: no cache');
    like($check->("token_proxy_cache_bypass \$arg_a;\n"), qr/^0 \[warn\].*no use/,
        '... nor at another level');
    is($check->("token_proxy_cache_bypass \$arg_a;\n", 'token_proxy_cache off'),
        '0 ', '... but not where it is off');
    is($check->('', 'token_proxy_cache tokens', 'token_proxy_cache_bypass $arg_a'),
        '0 ', '... nor where there is one');
    is($check->("token_proxy_cache_bypass \$arg_a;\ntoken_proxy_cache off;\n",
        'token_proxy_cache tokens'), '0 ', '... here alone');
    like($check->('', 'token_proxy_cache_bypass $no_such'),
        qr/^1 .*unknown "no_such" variable/, 'an unknown variable');
    like($check->('', 'token_proxy_cache_bypass'),
        qr/^1 .*invalid number of arguments/, 'no value');
}

$nginx->stop('QUIT');
no_secrets($nginx);

