# The wall clock is set while tokens are in the cache: forward, as after a
# snapshot that was restored, whose other clocks have missed the time between,
# and back.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Date qw(str2time);
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Clock;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for);

my $YEARS = 30 * 365 * 86400;

my $clock = Token::Clock->new;

plan(skip_all => 'no compiler, for a clock that can be set') if !$clock;
plan(tests => 51);

my $endpoint = Token::Endpoint->new;
my $warm = Token::Endpoint->new;

my $nginx = Token::Server->new(
    workers => 2,
    env => $clock->env,
    http => zone(),
    server => join('',
        (map { location($_->[0], $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_fields *', @$_[1 .. $#$_]) }
            ['a', 'token_proxy_refresh_before 10%'],
            ['half', 'token_proxy_refresh_before 50%'],
            ['patient', 'token_proxy_retry_backoff 60s 60s']),
        location('warm', $warm->url, 'token_proxy_cache_warm on'),
        'location = /api { token_proxy_bearer /half; proxy_pass '
            . $endpoint->url('/api') . '; }',
        location('file', $endpoint->url, 'token_proxy_cache off',
            'token_proxy_client_secret file:@DIR@/$arg_file',
            'token_proxy_file_valid 1h'),
        'location = /status { token_proxy_status; access_log off; }'),
)->start;


clock_is(0, 'the clock is right');

# the first call of token_proxy_cache_warm, in a second or two
ok((wait_for { $warm->calls == 1 } 5), 'a token is fetched at the start');


# a step of a few seconds
{
    my $first = fetched('/a?key=step', 6);

    $clock->set(4);
    clock_is(4, 'the clock is set forward by 4 seconds');
    is_deeply(seen('/a?key=step'), ['HIT', token($first)], '... and a token of 6 seconds is used');
    cmp_ok(left('/a?key=step'), '>=', 3, '... for the time that it has');

    $clock->set(0);
    is(seen('/a?key=step')->[0], 'HIT', '... and used when the clock is set back');
}


# further: it is time that has passed
{
    my $first = fetched('/a?key=forward', 3600);

    $clock->set(1000);
    is_deeply(seen('/a?key=forward'), ['HIT', token($first)],
        'forward by 1000 seconds: a token of an hour is used');
    cmp_ok(left('/a?key=forward'), '<=', 2600, '... for the time that is left');

    $clock->set(3700);
    is(seen('/a?key=forward')->[0], 'EXPIRED', 'forward by an hour: it has expired');

    my $second = seen('/a?key=forward');

    is($second->[0], 'HIT', '... and the next one is used');
    isnt($second->[1] // token($first), token($first), '... another');
    cmp_ok(left('/a?key=forward'), '>', 3500, '... for its whole time');

    $clock->set(0);
    is_deeply(seen('/a?key=forward'), $second, '... back again: it is used on');
    cmp_ok(left('/a?key=forward'), '<=', 3600, '... not for longer');
}


# for the renewal as well
{
    my $first = fetched('/half?key=renewal', 100);
    my $calls = $endpoint->calls;

    $clock->set(80);
    is_deeply(seen('/half?key=renewal'), ['HIT', token($first)],
        'past the renewal: the token is used');
    ok((wait_for { $endpoint->calls == $calls + 1 } 5), '... and renewed');
    ok((wait_for { seen('/half?key=renewal')->[1] ne token($first) } 5),
        '... which callers get');
    is($endpoint->calls, $calls + 1, '... with one call');
    $clock->set(0);
}


# the clock was wrong when nginx started, and is set right
{
    $clock->set(-$YEARS);

    my $first = fetched('/a?key=boot', 3600);
    my $calls = $endpoint->calls;

    $clock->set(0);

    my $client = Token::Client->new($nginx->port);

    $client->send('/a?key=boot') for 1 .. 20;

    my %got = map { token($_) => 1 } $client->receive(10);

    is(scalar(keys %got), 1, 'forward by years: all get the same token');
    ok(!$got{ token($first) }, '... another');
    is($endpoint->calls, $calls + 1, '... of one call');
    is(seen('/a?key=boot')->[0], 'HIT', '... which is kept');
}


# back: the other clock counts
{
    my $first = fetched('/a?key=back', 3600);
    my $short = fetched('/a?key=short', 2);

    $clock->set(-$YEARS);
    clock_is(-$YEARS, 'back by years');
    is_deeply(seen('/a?key=back'), ['HIT', token($first)], '... a token is used');
    cmp_ok(left('/a?key=back'), '<=', 3600, '... not for longer');
    sleep 2.1;
    is(seen('/a?key=short')->[0], 'EXPIRED', '... and one that ends, ends');
    $clock->set(0);
}


# what has expired by the wall clock stays so
{
    my $first = fetched('/patient?key=revive', 3600);

    $endpoint->answer(status => 500);
    $clock->set(7200);
    is($nginx->get('/patient?key=revive')->{status}, 502,
        'it has expired, and the endpoint fails');

    my $calls = $endpoint->calls;

    $clock->set(0);
    is($nginx->get('/patient?key=revive')->{status}, 503,
        '... the clock is set back: the token is not used again');

    # nor does a backoff end with the wall clock
    $clock->set($YEARS);
    is($nginx->get('/patient?key=revive')->{status}, 503,
        '... forward: the endpoint is left alone as before');
    is($endpoint->calls, $calls, '... without a call');
    $clock->set(0);
    $endpoint->answer();
}


# while a token is on its way
for my $case (['forward', 7200], ['back', -7200]) {
    my ($what, $seconds) = @$case;
    my $client = Token::Client->new($nginx->port);
    my $calls = $endpoint->calls;

    $endpoint->next({ delay => 1.5, expires_in => 36000 });
    $client->send("/a?key=on_its_way_$what") for 1 .. 10;
    wait_for { $endpoint->calls > $calls };
    $clock->set($seconds);
    $client->send("/a?key=on_its_way_$what") for 1 .. 10;

    my @got = $client->receive(10);

    is(scalar(grep { $_->{status} == 200 } @got), 20, "a call runs, $what: all get a token");
    is($endpoint->calls, $calls + 1, '... of that call');
    is(seen("/a?key=on_its_way_$what")->[0], 'HIT', '... which is kept');

    my $left = left("/a?key=on_its_way_$what");

    cmp_ok($left, $what eq 'forward' ? '<=' : '>', $what eq 'forward' ? 28800 : 35900,
        '... for the time that is left');
    $clock->set(0);
}

# longer than it lives
{
    my $calls = $endpoint->calls;
    my $client = Token::Client->new($nginx->port);

    $endpoint->next({ delay => 1, expires_in => 3600 });
    $client->send('/a?key=late');
    wait_for { $endpoint->calls > $calls };
    $clock->set(7200);
    is(($client->receive(10))[0]{status}, 200, 'a call runs for longer than its token lives');
    is(seen('/a?key=late')->[0], 'MISS', '... the token is not kept');
    like($nginx->error_log, qr/\[warn\].*its lifetime has passed since it was asked for/,
        '... which the log says');
    $clock->set(0);
}


# an API's
{
    $endpoint->answer(expires_in => 3600);
    $nginx->get('/api');

    my $sent = sent();

    like($sent, qr/^Bearer AT-\d+$/, 'a request to an API has the token');
    $clock->set(7200);
    $nginx->get('/api');
    like(sent(), qr/^Bearer AT-\d+$/, '... and one when it has expired');
    isnt(sent(), $sent, '... another');
    $clock->set(0);
}


# a file that is read for a request, and kept for a while
{
    my $files = $nginx->dir;
    my $secrets = sub {
        my %sent;

        for (1 .. 10) {
            $nginx->get('/file?file=tenant');
            $sent{ decode_base64(sent() =~ s/^Basic //r) }++;
        }

        return \%sent;
    };

    chmod 0600, spew("$files/tenant", 'first');
    is_deeply($secrets->(), { 'my-key:first' => 10 }, 'a secret of a tenant');
    spew("$files/tenant", 'second');
    $clock->set(-7200);
    is_deeply($secrets->(), { 'my-key:second' => 10 },
        '... is read again when the clock is set back');
    $clock->set(0);
}


# without a caller
{
    # it may have been renewed while the clock was ahead in the cases before
    my $calls = $warm->calls;

    cmp_ok($calls, '>=', 1, 'of token_proxy_cache_warm:');
    $clock->set(20000);
    like($nginx->get('/status')->{content}, qr/"tokens":0\b/,
        '... token_proxy_status counts none that has expired');
    ok((wait_for { $warm->calls == $calls + 1 } 8), '... it is renewed, without a caller');
    $clock->set(0);
}


{
    no_secrets($nginx);

    my $pid = $nginx->pid;

    kill QUIT => $pid;
    ok((wait_for { !Token::Server::alive($pid) } 5), 'nginx leaves');
}


# A token with a lifetime, of a new entry.
sub fetched {
    my ($path, $lifetime) = @_;

    $endpoint->answer(expires_in => $lifetime);

    my $got = $nginx->get($path);

    die "$path: $got->{status}\n" if $got->{status} != 200;
    $endpoint->answer();
    return $got;
}


sub seen {
    my ($path) = @_;
    my $got = $nginx->get($path);

    return [status($got), token($got)];
}


sub left { return member($nginx->get($_[0]), 'expires_in') }


# What the last one was sent, an API or the endpoint.
sub sent {
    my ($header) = ($endpoint->requests)[-1] =~ /^Authorization: (.*)\r$/m;

    return $header;
}


# Whether nginx's clock is so far ahead of the machine's, by its Date.
sub clock_is {
    my ($seconds, $name) = @_;
    my $got = $nginx->get('/none');
    my $ahead = str2time($got->{headers}{date}) - $got->{sent};

    return ok(abs($ahead - $seconds) < 2, $name) || diag("$ahead seconds ahead");
}
