# token_proxy_cache_warm: the token is there before anybody asks for it, and
# stays.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 50;
use JSON::PP qw(decode_json);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

my $closed = Token::Endpoint->new;
my $closed_url = $closed->url;
$closed->stop;

# by what the endpoint does
my %endpoint = (
    lasting => Token::Endpoint->new,
    short => Token::Endpoint->new(expires_in => 4),
    failing => Token::Endpoint->new(status => 500),
    unkept => Token::Endpoint->new(expires_in => 0),
    later => Token::Endpoint->new,
);

my $start = time;
my %nginx = map { $_ => server($_, $endpoint{$_}->url)->start } keys %endpoint;
my $unreachable = server('unreachable', $closed_url)->start;
my $begin = time;

sleep 5;


# a token that lasts
{
    my $nginx = $nginx{lasting};

    is($endpoint{lasting}->calls, 1, 'nginx has started: one call, of two workers');

    my $got = $nginx->get('/token');

    is(status($got), 'HIT', '... and the first caller waits for nothing');
    is(token($got), 'AT-1', '... has the token');
    is(token($nginx->get('/same')), 'AT-1', '... and so has another location');
    is_deeply(counts($nginx), { hits => 2, misses => 0, waits => 0, rejects => 0,
        refreshes => 0 }, '... no caller is counted for it');

    # a reload
    my @old = $nginx->workers;

    $nginx->reload;
    ok((wait_for { !grep { Token::Server::alive($_) } @old } 5),
        'a reload: the old workers leave');
    sleep 3;
    is($endpoint{lasting}->calls, 1, '... and there is no call while the token is fresh');

    # without any worker of before
    kill KILL => $nginx->workers;
    wait_for { my %old = map { $_ => 1 } @old; $nginx->workers == 2 };
    sleep 3;
    is($endpoint{lasting}->calls, 1, 'all workers are killed: nor then');
    is(status($nginx->get('/token')), 'HIT', '... and callers get the token');
}


# one that has to be renewed again and again
{
    my $nginx = $nginx{short};
    my $seconds = time - $begin;
    my $calls = $endpoint{short}->calls;
    my $all = time - $start;

    cmp_ok($calls, '>=', int(($seconds - 2) / 2.3) - 1, 'a short lifetime: it is renewed');
    cmp_ok($calls, '<=', 1 + $all / 2 + 1, '... when it is due, and not before');
    is(counts($nginx)->{refreshes}, $endpoint{short}->calls - 1,
        '... as a refresh, each but the first');
    steady($nginx, $endpoint{short}, '... and nobody asked for it');

    # killed, stopped
    my ($one) = $nginx->workers;

    kill KILL => $one;
    steady($nginx, $endpoint{short}, 'a worker is killed');

    ($one) = $nginx->workers;
    kill STOP => $one;
    unattended($endpoint{short}, 'a worker is frozen');
    kill CONT => $one;

    # the one that calls
    for my $signal (qw(KILL STOP)) {
        my $before = $endpoint{short}->calls;

        $endpoint{short}->next({ delay => 6 });
        wait_for { $endpoint{short}->calls > $before } 10;
        $before = $endpoint{short}->calls;

        my $port = $endpoint{short}->port;
        my ($holder) = reverse $nginx->error_log
            =~ /\[debug\] (\d+)#.* connect to 127\.0\.0\.1:$port,/g;

        kill $signal => $holder;
        ok((wait_for { $endpoint{short}->calls > $before } 10),
            "$signal for the worker that calls: another one does");
        kill CONT => $holder if $signal eq 'STOP';
    }

    steady($nginx, $endpoint{short}, '... and all is as before');

    # a configuration without it
    $nginx->configure(server => location('token', $endpoint{short}->url));
    $nginx->reload;
    sleep 1;

    my $before = $endpoint{short}->calls;

    sleep 5;
    is($endpoint{short}->calls, $before, 'a reload turns it off: no call any more');
    is(status($nginx->get('/token')), 'EXPIRED', '... and the token expires');
}


# an endpoint that fails keeps nothing from starting
{
    my $nginx = $nginx{failing};
    my $calls = $endpoint{failing}->calls;
    my $seconds = time - $start;

    cmp_ok($calls, '>=', 2, 'the endpoint fails: it is called again');
    cmp_ok($calls, '<=', 2 + $seconds, '... after the backoff');

    $endpoint{failing}->answer();
    ok((wait_for { $nginx->get('/token')->{status} == 200 } 8),
        '... and there is a token once it is well');

    is($unreachable->get('/other')->{status}, 404, 'the endpoint is not there: nginx is');
    like($unreachable->get('/token')->{status}, qr/^50[23]$/, '... and says so');
    unlike($unreachable->error_log, qr/\[(?:emerg|alert)\]/, '... without an alert');
}


# one whose tokens cannot be kept is not called without end
{
    my $calls = $endpoint{unkept}->calls;
    my $seconds = time - $start;

    cmp_ok($calls, '>=', 1, 'a token that cannot be kept: it is fetched');
    cmp_ok($calls, '<=', 1 + $seconds / 2, '... and again after the longest backoff');
    is(token($nginx{unkept}->get('/token')), 'AT-' . ($calls + 1), '... a caller gets one');
}


# a token that an operator has had renewed, or that was dropped
{
    my $nginx = $nginx{later};

    is($nginx->get('/token?renew=1')->{status}, 200, 'token_proxy_cache_bypass');
    is(token($nginx->get('/token')), 'AT-2', '... and the new token is kept');
    sleep 3;
    is($endpoint{later}->calls, 2, '... without another call');
}


# They leave when they are told to: a timer of up to five seconds holds none.
{
    my %pid = map { $_ => $nginx{$_}->pid } keys %nginx;

    kill QUIT => values %pid;

    ok((wait_for { !grep { Token::Server::alive($_) } values %pid } 3),
        'QUIT: nginx ends at once');
    no_secrets($nginx{$_}) for sort keys %nginx;
}

$unreachable->stop('QUIT');


# nginx -t
{
    my $url = $endpoint{lasting}->url;
    my $check = sub {
        my (@directives) = @_;
        my ($status, $output) = Token::Server->new(http => zone(),
            server => 'set $var a; location = /t { token_proxy_cache tokens; '
                . join('', map { "$_; " } @directives) . '}')->test;

        return "$status " . join ' ', $output =~ /\[(?:warn|emerg)\].*/g;
    };
    my @on = ('token_proxy on', "token_proxy_endpoint $url", 'token_proxy_cache_warm on');

    for my $case (
        ['the client id varies', 'token_proxy_client_id $var'],
        ['a parameter varies', 'token_proxy_param scope $var'],
        ['the key varies', 'token_proxy_cache_key $var'])
    {
        my ($what, $directive) = @$case;

        like($check->(@on, $directive),
            qr/^1 \[emerg\].*"token_proxy_cache_warm" needs a token request without variables.* in .*:\d+$/,
            "nginx -t: $what");
    }

    like($check->('token_proxy on', 'token_proxy_endpoint http://$host/',
        'token_proxy_cache_warm on', 'resolver 127.0.0.1'),
        qr/^1 .*needs a token request without variables/, '... the endpoint varies');
    is($check->(@on, 'token_proxy_cache_key constant'), '0 ', '... a constant key is one');
    is($check->('token_proxy on', "token_proxy_endpoint $url", 'token_proxy_cache_warm off',
        'token_proxy_cache_key $var'), '0 ', '... "off" takes all');
    like($check->('token_proxy_cache_warm on'),
        qr/^0 \[warn\].*"token_proxy_cache_warm" is not used without "token_proxy on" in .*:\d+$/,
        '... no token location');

    my ($status, $output) = Token::Server->new(http => zone(),
        server => "location = /t { token_proxy on; token_proxy_endpoint $url; "
            . 'token_proxy_cache_warm on; }')->test;
    like("$status $output", qr/^1 .*"token_proxy_cache_warm" needs "token_proxy_cache" in/s,
        '... no cache');

    ($status, $output) = Token::Server->new(http => zone()
        . "token_proxy_cache_warm on;\n")->test;
    like("$status $output", qr/^1 .*"token_proxy_cache_warm" directive is not allowed here/s,
        '... for a token location only');
}


sub server {
    my ($name, $url) = @_;

    return Token::Server->new(
        workers => 2,
        listen => 'reuseport',
        http => zone(),
        server => join('',
            location('token', $url, 'token_proxy_cache_warm on',
                'token_proxy_retry_backoff 1s 2s',
                'token_proxy_cache_bypass $arg_renew'),
            location('same', $url, 'token_proxy_fields *'),
            'location = /status { token_proxy_status; access_log off; }'),
    );
}

sub counts {
    my ($nginx) = @_;
    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{tokens};
    my ($at) = values %{ $zone->{endpoints} };

    return { map { $_ => $at->{$_} } qw(hits misses waits rejects refreshes) };
}

# callers who come now and then never wait
sub steady {
    my ($nginx, $endpoint, $what) = @_;
    my $before = $endpoint->calls;
    my %statuses;

    for (1 .. 12) {
        sleep 0.5;
        $statuses{ status($nginx->get('/token')) // '' }++;
    }

    is_deeply(\%statuses, { HIT => 12 }, "$what: callers get a token at once")
        or diag(explain \%statuses);
    cmp_ok($endpoint->calls, '>', $before, "$what: it is renewed");

    return;
}

sub unattended {
    my ($endpoint, $what) = @_;
    my $before = $endpoint->calls;

    ok((wait_for { $endpoint->calls >= $before + 2 } 12),
        "$what: the other one renews");

    return;
}
