# token:/location in token_proxy_param, and token_proxy_bearer in a token location:
# the token of one location is what another one's token request needs.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use List::Util qw(sum);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port wait_for);

# The endpoint of the first token, and that of those that it is exchanged for,
# whose tokens have other names.
my $sts = Token::Endpoint->new;
my $api = Token::Endpoint->new;
my $resource = Token::Endpoint->new;
my @names = (body => '{"access_token":"AT-9%d","expires_in":3600}');

my $EXCHANGE = 'token_proxy_grant_type urn:ietf:params:oauth:grant-type:token-exchange';
my @subject = ($EXCHANGE, 'token_proxy_param subject_token token:/sts');
my @brief = ('token_proxy_retry_backoff 4s 4s');
my @circles = circles();
my @wrong = wrong();
my @right = right();

plan(tests => 99 + @circles + @wrong + @right);

my $nginx = server();


# one after the other
{
    fresh();

    my $got = $nginx->get('/api');

    is(token($got), 'AT-91', 'a caller gets the token of the second endpoint');
    is(status($got), 'MISS', '... by a fetch');
    is($sts->calls . $api->calls, '11', '... with one call of each');
    is(sent($api, 'subject_token'), 'AT-1', '... which has got the first token');
    is(status($nginx->get('/api')), 'HIT', 'the next caller gets it from the cache');
    is(status($nginx->get('/sts')), 'HIT', 'the first token is in the cache as well');
    is($sts->calls . $api->calls, '11', '... and there are no other calls');

    # a renewed first token is no miss of the second
    sleep 1.1;
    is(token($nginx->get('/sts?renew=1')), 'AT-2', 'the first token is renewed');
    is(status($nginx->get('/api')), 'HIT', '... and the second stays');

    is(token($nginx->get('/api?renew=1')), 'AT-92', 'the second one is renewed');
    is(sent($api, 'subject_token'), 'AT-2', '... for the first one that is there');
    is($sts->calls, 2, '... which is not renewed for it');

    $nginx->reload;
    is(status($nginx->get('/api')), 'HIT', 'a reload keeps both');
    is(status($nginx->get('/sts')), 'HIT', '... tokens');
}


# in all the ways in which a token is asked for
{
    fresh();

    my $client = Token::Client->new($nginx->port);

    $sts->next({ delay => 1 });
    $client->send('/api') for 1 .. 30;
    is(scalar(grep { $_->{status} == 200 } $client->receive(10)), 30,
        'many callers at once, of two workers: all get a token');
    is($sts->calls . $api->calls, '11', '... of one call of each endpoint');

    fresh();
    $nginx->get('/resource');
    is(header($resource, 'Authorization'), 'Bearer AT-91',
        'token_proxy_bearer gets the second token for an API');

    fresh();
    is(token($nginx->get('/bare')), 'AT-91', 'a location without a cache');
    is(token($nginx->get('/bare')), 'AT-92', '... has a new token each time');
    is($sts->calls, 1, '... for the same first one');

    fresh();
    is(token($nginx->get('/of_bare')), 'AT-91', 'the first token is not cached');
    sleep 1.1;
    is(token($nginx->get('/of_bare?renew=1')), 'AT-92', '... so that a renewal');
    is($sts->calls, 2, '... fetches it anew');

    fresh();
    is(token($nginx->get('/third')), 'AT-92', 'a chain of three');
    is_deeply([map { /subject_token=([^&]*)/ } $api->requests], ['AT-1', 'AT-91'], '... is gone through from its first token');
    is($sts->calls, 1, '... with one call of the first endpoint');

    fresh();
    is($nginx->get('/two')->{status}, 200, 'two parameters');
    like(($api->requests)[0], qr/subject_token=AT-1&actor_token=AT-2$/, '... have a token each');

    fresh();
    is($nginx->get('/json')->{status}, 200, 'a request in JSON');
    like(($api->requests)[0], qr/"subject_token":"AT-1"/, '... has the token');

    fresh();
    my $grant = $nginx->request(POST => '/grant',
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=mine');
    is($grant->{status}, 200, 'a refresh grant');
    like(($api->requests)[0], qr/refresh_token=mine&client_assertion=AT-1$/,
        '... has the token that authenticates the client');
}


# a caller who leaves a location without a cache
{
    fresh();
    $sts->next({ delay => 2 });

    my $client = $nginx->connect;

    print $client "GET /bare HTTP/1.0\r\n\r\n";
    wait_for { $sts->calls } 5;
    close $client;
    sleep 2.5;

    is($api->calls, 0, 'a caller leaves while the first token is fetched: no second call');
    is(status($nginx->get('/sts')), 'HIT', '... and the first token is kept');
}


# which entry
{
    fresh();
    is(token($nginx->get('/tenant?a=one')), 'AT-91', 'the first request varies');
    is(token($nginx->get('/tenant?a=two')), 'AT-92', '... another tenant, another token');
    is(status($nginx->get('/tenant?a=one')), 'HIT', '... and each');
    is(status($nginx->get('/tenant?a=two')), 'HIT', '... has its own');
    is_deeply([map { /scope=([^&]*)/ } $sts->requests], ['one', 'two'],
        '... as the first endpoint has been told');

    fresh();
    my @tokens = map { token($nginx->get('/keyed', 'X-Tenant' => $_)) } qw(a b a);
    is("@tokens", 'AT-91 AT-92 AT-91', 'the key of the first location is one of the second');
    is($sts->calls, 2, '... although it varies with the caller alone');

    fresh();
    is(token($nginx->get('/api')), 'AT-91', 'one server');
    is(token(elsewhere($nginx, '/api')), 'AT-92',
        'another server, whose location of that name is another client, has its own');

    fresh();
    is(token($nginx->get('/api')), 'AT-91', 'a token');
    is(token($nginx->get('/text?a=token:/sts')), 'AT-92',
        'a variable with the text "token:/sts" is no token');
    is(sent($api, 'subject_token'), 'token%3A%2Fsts', '... and is sent as it is');
}


# no longer than what it was exchanged for
{
    fresh();
    $sts->answer(expires_in => 100);

    my ($miss, $hit) = map { $nginx->get('/api') } 1, 2;

    for ([$miss, 'the first caller'], [$hit, 'the next']) {
        my ($got, $who) = @$_;

        is(in_range(member($got, 'expires_in'), 95, 100), 1,
            "a token ends with the one that it was exchanged for: $who is told");
        is(in_range($got->{headers}{'x-expires'}, 95, 100), 1, '... by the variable, too');
    }

    is(in_range(member($nginx->get('/bare'), 'expires_in'), 95, 100), 1,
        '... also without a cache');
    is(in_range(member($nginx->get('/third'), 'expires_in'), 95, 100), 1,
        '... and at the end of a chain');
    is(member($nginx->get('/client'), 'expires_in'), 3600,
        'a token that authenticates the client bounds nothing');

    fresh();
    $sts->answer(expires_in => 100);
    $api->next({ body => '{"access_token":"AT-9%d"}' });
    is(in_range(member($nginx->get('/third'), 'expires_in'), 95, 100), 1,
        'the second token of a chain tells no lifetime: the third ends with the first');

    fresh();
    $sts->answer(expires_in => 0.5);
    is(member($nginx->get('/third'), 'expires_in'), 0, '... which may have less than a second');

    fresh();
    $sts->answer(expires_in => 4);

    my $first = token($nginx->get('/api'));
    my %seen;
    my $until = time + 6;

    while (time < $until) {
        my $got = $nginx->get('/api');

        $seen{ token($got) // $got->{status} }++;
        sleep 0.1;
    }

    ok(!grep({ !/^AT-/ } keys %seen), 'callers always get a token')
        or diag(explain \%seen);
    cmp_ok(scalar(keys %seen), '>=', 3, '... which is renewed with the first one');
    cmp_ok($api->calls, '<=', 20, '... and not without end');
}


# the first token cannot be had
{
    fresh();
    $sts->answer(status => 500, body => '{}');

    my $got = $nginx->get('/quick');

    is($got->{status}, 502, 'the first endpoint fails: so does the second location');
    is($api->calls, 0, '... whose endpoint is not called');
    like($nginx->error_log, qr{\[error\].* token request needs the token of location "/quick_sts", which has none.*location: "/quick"},
        '... and the log says which one is missing, and for which');

    $got = $nginx->get('/quick');
    is($got->{status}, 503, 'the backoff is that of the first');
    like($got->{headers}{'retry-after'}, qr/^[1-5]$/, '... and is told');
    is($sts->calls, 1, '... without a call');

    my $status = decode_json($nginx->get('/status')->{content})->{zones}{tokens}{endpoints};
    my ($first, $second) = map { $status->{ '127.0.0.1:' . $_->port } } $sts, $api;

    is("$first->{backoff_entries} $first->{fetches}{broken}", '1 1',
        '... and token_proxy_status has one failure of the first endpoint');
    is(sum(values %{ $second->{fetches} }) . " $second->{backoff_entries}", '0 1',
        '... and no call of the second, which is left alone meanwhile');

    $sts->answer;
    ok((wait_for { $nginx->get('/quick_sts')->{status} == 200 } 10), 'it is well again');
    is($nginx->get('/quick')->{status}, 200, '... and so is the second at once');

    fresh();
    $sts->answer(status => 400, body => '{"error":"invalid_client"}');
    is($nginx->get('/quick')->{status}, 502, 'the first endpoint refuses: 502');

    fresh();
    $sts->answer(status => 503, body => '{}', headers => ['Retry-After' => 7]);
    is($nginx->get('/api')->{headers}{'retry-after'}, 7, 'it asks for time: so does the answer');

    # with a token that is still good
    fresh();
    $api->answer(body => '{"access_token":"AT-9%d","expires_in":10}');
    $nginx->get('/quick');
    $sts->answer(status => 500, body => '{}');
    sleep 1.1;
    is($nginx->get('/quick_sts?renew=1')->{status}, 502, 'the first endpoint fails');

    my %statuses;

    for (1 .. 15) {
        my $status = $nginx->get('/quick')->{status};

        $statuses{$status}++;
        sleep 0.2;
    }

    is_deeply(\%statuses, { 200 => 15 }, 'who has a second token keeps it meanwhile')
        or diag(explain \%statuses);

    fresh();
    $sts->answer(body => '{"access_token":"caf\u00e9","expires_in":60}');
    is($nginx->get('/quick')->{status}, 502, 'a first token that is none is not sent');
    is($api->calls, 0, '... to the second endpoint');
}


# the second endpoint refuses the first token
for my $refusal (
    [400, 'invalid_grant', '/api'], [400, 'invalid_request', '/api'],
    [401, 'invalid_token', '/header'])
{
    my ($status, $error, $path) = @$refusal;

    fresh();
    $nginx->get('/sts');
    $api->next({ status => $status, body => qq({"error":"$error"}) });

    is(token($nginx->get($path)), 'AT-92',
        "$error: a first token that was revoked is fetched anew");
    is($sts->calls . $api->calls, '22', '... with one more call of each endpoint');
}

{
    fresh();
    $api->answer(status => 400, body => '{"error":"invalid_grant"}');
    $nginx->get('/sts');
    is($nginx->get('/api')->{status}, 502, 'the second endpoint refuses every token: 502');
    is($sts->calls . $api->calls, '22', '... after a second try');

    is($nginx->get('/api')->{status}, 503, '... and then there is a backoff');
    is($sts->calls . $api->calls, '22', '... without calls');

    fresh();
    $api->answer(status => 400, body => '{"error":"invalid_grant"}');
    is($nginx->get('/api')->{status}, 502, 'a new token is refused');
    is($sts->calls . $api->calls, '11', '... and not fetched again');

    fresh();
    $api->answer(status => 401, body => '{"error":"invalid_client"}');
    $nginx->get('/sts');
    is($nginx->get('/api')->{status}, 502, 'the client is refused');
    is($sts->calls . $api->calls, '11', '... which no other token would change');
}


# in a header
{
    fresh();
    is(token($nginx->get('/header')), 'AT-91', 'token_proxy_bearer in a token location');
    is(header($api, 'Authorization'), 'Bearer AT-1', '... puts the token into a header');
    is(token($nginx->get('/header')), 'AT-91', '... and its own is cached');
    is(token($nginx->get('/header_x')), 'AT-92', '... another header');
    is(header($api, 'X-Token'), 'AT-1', '... has the token alone');
    is(header($api, 'Authorization') =~ /^Basic /, 1, '... beside those of the client');
}


# no token in the log, whatever the endpoint repeats
{
    fresh();
    $api->answer(status => 400, body => '{"error":"invalid_scope","error_description":"AT-1 is wrong"}');
    is($nginx->get('/scope')->{status}, 502, 'the endpoint repeats a token that was its scope');
    $api->answer(status => 400, body => '{"error":"invalid_scope","error_description":"Bearer AT-1?"}');
    is($nginx->get('/header')->{status}, 502, '... or that was in a header');
}

no_secrets($nginx);


# warm
{
    my $first = Token::Endpoint->new(expires_in => 4);
    my $second = Token::Endpoint->new(@names);
    my $warm = Token::Server->new(workers => 2, http => zone(), server => join('',
        location('sts', $first->url),
        location('api', $second->url, @subject, 'token_proxy_cache_warm on')))->start;

    ok((wait_for { $second->calls && sent($second, 'subject_token') ne 'AT-1' } 15),
        'token_proxy_cache_warm fetches and renews, with renewed first tokens');
    is(status($warm->get('/api')), 'HIT', '... and callers have the token at once');
    $warm->stop;
}


# nginx -t
for (@circles, @wrong) {
    my ($what, $message, @config) = @$_;

    like(check(@config), qr/^1 \[emerg\].*$message in .*nginx\.conf:\d+$/, "nginx -t: $what");
}

for (@right) {
    my ($what, $message, @config) = @$_;

    like(check(@config), qr/^0 $message$/, "nginx -t: $what");
}


sub server {
    my $first = $sts->url;
    my $second = $api->url;
    my @same = (@subject, 'token_proxy_cache_bypass $arg_renew', 'token_proxy_fields *');
    my $other = free_port();

    my $server = Token::Server->new(
        workers => 2,
        listen => 'reuseport',
        http => zone() . "server { listen 127.0.0.1:$other; token_proxy_client_id other;\n"
            . location('sts', $first) . location('api', $second, @same) . "}\n",
        server => join('',
            location('sts', $first, 'token_proxy_cache_bypass $arg_renew'),
            location('bare_sts', $first, 'token_proxy_cache off'),
            location('actor', $first, 'token_proxy_param scope actor'),
            location('tenant_sts', $first, 'token_proxy_param scope $arg_a'),
            location('keyed_sts', $first, 'token_proxy_cache_key $http_x_tenant'),
            location('quick_sts', $first, @brief, 'token_proxy_param scope quick',
                'token_proxy_cache_bypass $arg_renew'),
            location('api', $second, @same),
            location('bare', $second, @same, 'token_proxy_cache off'),
            location('of_bare', $second, $EXCHANGE, 'token_proxy_cache_bypass $arg_renew',
                'token_proxy_param subject_token token:/bare_sts'),
            location('third', $second, $EXCHANGE, 'token_proxy_fields *',
                'token_proxy_param subject_token token:/api'),
            location('two', $second, @same, 'token_proxy_param actor_token token:/actor'),
            location('json', $second, @same, 'token_proxy_request json'),
            location('grant', $second, 'token_proxy_refresh_grant on',
                'token_proxy_auth_method none', 'token_proxy_param client_assertion token:/sts'),
            location('client', $second, 'token_proxy_auth_method none', 'token_proxy_fields *',
                'token_proxy_param client_assertion token:/sts'),
            location('tenant', $second, 'token_proxy_param subject_token token:/tenant_sts'),
            location('keyed', $second, 'token_proxy_param subject_token token:/keyed_sts'),
            location('text', $second, $EXCHANGE, 'token_proxy_param subject_token $arg_a'),
            location('quick', $second, 'token_proxy_retry_backoff 30s 30s',
                 'token_proxy_param subject_token token:/quick_sts'),
            'location = /status { token_proxy_status; }',
            location('scope', $second, 'token_proxy_param scope token:/sts'),
            location('header', $second, 'token_proxy_bearer /sts',
                'token_proxy_auth_method none'),
            location('header_x', $second, 'token_proxy_bearer /sts',
                'token_proxy_bearer_header X-Token'),
            'location /resource { token_proxy_bearer /api; proxy_pass ' . $resource->url . '; }'),
    );

    $server->{other} = $other;
    return $server->start;
}


# An empty cache, and endpoints that are well and were not called.
sub fresh {
    $nginx->stop;
    $sts->answer;
    $api->answer(@names);
    $_->reset for $sts, $api;
    $nginx->start;
    return;
}


# what the last request had as a parameter, or as a header
sub sent {
    my ($endpoint, $name) = @_;

    return ($endpoint->requests)[-1] =~ /[\n&]\Q$name\E=([^&]*)/ ? $1 : undef;
}

sub header {
    my ($endpoint, $name) = @_;

    return ($endpoint->requests)[-1] =~ /^\Q$name\E: (.*?)\r$/m ? $1 : '';
}


sub elsewhere {
    my ($server, $path) = @_;

    return HTTP::Tiny->new->get("http://127.0.0.1:$server->{other}$path");
}


sub in_range {
    my ($n, $from, $to) = @_;

    return defined $n && $n >= $from && $n <= $to ? 1 : "not $from to $to: "
        . ($n // 'undef');
}


# A server's lines, and perhaps those of the http level.
sub check {
    my ($server, $http) = @_;
    my ($status, $output) = Token::Server->new(http => zone() . ($http // ''),
        server => $server)->test;

    return "$status " . join ' ', $output =~ /(\[(?:warn|emerg)\].*)/g;
}


# A token location that needs the tokens of those.
sub needs {
    my ($name, @others) = @_;
    my $n = 0;

    return location($name, 'http://127.0.0.1:1/',
        map { 'token_proxy_param p' . ++$n . " token:/$_" } @others);
}


sub circles {
    return (
        ['a circle of one', '"token_proxy_param" names "/a", .* "/a" itself: this is a circle',
            needs('a', 'a')],
        ['a circle of two', 'this is a circle', needs('a', 'b') . needs('b', 'a')],
        ['a circle of three', 'this is a circle',
            needs('a', 'b') . needs('b', 'c') . needs('c', 'a')],
        ['a circle that others lead to', 'names "/b", .* "/c" itself: this is a circle',
            needs('a', 'b') . needs('b', 'c') . needs('c', 'b')],
        ['a circle by an outer level', 'names "/a", .* "/a" itself: this is a circle',
            'token_proxy_param x token:/a; ' . needs('a')],
        ['a circle by a header', '"token_proxy_bearer" names "/a", .*this is a circle',
            needs('a', 'b') . location('b', 'http://127.0.0.1:1/',
                'token_proxy_bearer /a', 'token_proxy_auth_method none')],
    );
}


sub wrong {
    my $no = 'but the server has no such location with "token_proxy on"';
    my $only = '"token:" can be used in "token_proxy_param" only, and not in ';
    my $one = 'http://127.0.0.1:1/';

    return (
        ['no such location', qq("token_proxy_param" names "/b", $no), needs('a', 'b')],
        ['a location of another kind', $no, needs('a', 'b') . 'location = /b { }'],
        ['a location of another server', $no, needs('a', 'b'),
            'server { listen 127.0.0.1:2; ' . needs('b') . '}'],
        ['token_proxy off', $no, needs('a', 'b') . 'location = /b { token_proxy off; }'],
        ['no name', 'needs the name of a token location after "token:"', needs('a', '')
            =~ s{token:/}{token:}r],
        (map { ["$_->[0] $_->[1]", qq($only"$_->[0]", write "literal:" .*), location('a', $one,
            'token_proxy_grant_type urn:ietf:params:oauth:grant-type:jwt-bearer',
            "$_->[0] $_->[1]")] } ['token_proxy_client_id', 'token:/b'],
                ['token_proxy_client_secret', 'token:/b'],
                ['token_proxy_client_assertion', 'token:/b'],
                ['token_proxy_grant_claim', 'sub token:/b'],
                ['token_proxy_auth_basic_user', 'name token:/b']),
        ['token_proxy_cache_warm, where the first request varies',
            '"token_proxy_cache_warm" needs a token request without variables.*',
            location('a', $one, 'token_proxy_param x token:/b', 'token_proxy_cache_warm on')
                . location('b', $one, 'token_proxy_param y $arg_y')],
        ['token_proxy_cache_warm, where its key varies',
            '"token_proxy_cache_warm" needs a token request without variables.*',
            location('a', $one, 'token_proxy_param x token:/b', 'token_proxy_cache_warm on')
                . location('b', $one, 'token_proxy_cache_key $arg_y')],
        ['token_proxy_bearer of no location', qq("token_proxy_bearer" names "/b", $no),
            location('a', $one, 'token_proxy_bearer /b', 'token_proxy_auth_method none')],
        ['a header that Basic needs', '"token_proxy_bearer" in a token location sets the header '
            . '"Authorization" of the token request, which is set already.*',
            needs('b') . location('a', $one, 'token_proxy_bearer /b')],
        ['a header of the request', '.*the header "Accept" of the token request.*',
            needs('b') . location('a', $one, 'token_proxy_bearer /b',
                'token_proxy_bearer_header Accept', 'token_proxy_auth_method none')],
    );
}


sub right {
    my $one = 'http://127.0.0.1:1/';

    return (
        ['a diamond is no circle', '',
            needs('a', 'b', 'c') . needs('b', 'd') . needs('c', 'd') . needs('d')],
        ['"literal:" before it', '', location('a', $one,
            'token_proxy_param x literal:token:/a',
            'token_proxy_client_id literal:token:/a', 'token_proxy_auth_method client_secret_post')],
        ['a location that is no token location does not use it', '',
            'location / { token_proxy_param x token:/none; }'],
        ['token_proxy_bearer of an outer level is not of a token location', '',
            'token_proxy_bearer /none; ' . needs('a')],
        ['token_proxy_cache_warm', '',
            location('a', $one, 'token_proxy_param x token:/b', 'token_proxy_cache_warm on')
                . needs('b')],
    );
}
