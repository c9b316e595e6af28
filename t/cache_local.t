# What a worker has served it serves again without the lock of the zone, for as
# long as nothing has changed: with two workers, and with eight.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 61;
use JSON::PP qw(decode_json);
use List::Util qw(min);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($NGINX slurp wait_for);

my $large = 'x' x 2000;

for my $workers (2, 8) {
    my $endpoint = Token::Endpoint->new;
    my $api = Token::Endpoint->new(body => 'data');

    my $nginx = Token::Server->new(
        workers => $workers,
        listen => 'reuseport',
        log_level => 'info',
        http => zone() . "access_log off;\n",
        server => join('',
            location('token', $endpoint->url, 'token_proxy_retry_backoff 1ms 1s'),
            location('all', $endpoint->url, 'token_proxy_fields *',
                'token_proxy_cache_key all'),
            location('tenant', $endpoint->url, 'token_proxy_param scope $arg_key'),
            location('new', $endpoint->url, 'token_proxy_cache_key new',
                'token_proxy_cache_bypass $arg_new'),
            location('old', $endpoint->url, 'token_proxy_cache_key old',
                'token_proxy_refresh_before 0', 'token_proxy_retry_backoff 60s 60s'),
            'location = /api { token_proxy_bearer /token; proxy_pass http://127.0.0.1:'
                . $api->port . '; }',
            'location = /status { token_proxy_status; }',
        ),
    )->start;

    my $of = "of $workers workers";


    # the lock is taken by somebody who does not give it back
    {
        my @paths = ('/token', '/all', '/tenant?key=1', '/api');

        known($nginx, $_) for @paths;
        my $calls = $endpoint->calls;

        my $unlock = hold_lock($nginx);
        my @got = map { everywhere($nginx, $_, 2, 2) } @paths;

        $unlock->();

        is_deeply([grep { $_->{status} != 200 } @got], [],
            "the zone is locked: all hits $of are answered");
        cmp_ok(scalar(@got), '>=', 2 * 4 * $workers, '... by each of them');
        is_deeply({ map { status($_) => 1 } @got }, { HIT => 1 }, '... as hits');
        is($endpoint->calls, $calls, '... without a call');

        my ($all) = grep { member($_, 'token_type') } @got;
        my $left = member($all, 'expires_in') // -1;

        ok($left > 3000 && $left < 3601, '... with the seconds that are left');
    }


    # a tenant gets its own
    {
        my %tokens;

        for my $key (1 .. 5) {
            $tokens{ token($_) // '' }{$key} = 1
                for known($nginx, "/tenant?key=$key");
        }

        is(scalar(keys %tokens), 5, "five tenants, five tokens $of");
        is_deeply([grep { keys %$_ != 1 } values %tokens], [],
            '... none for another one');
    }


    # a token that the API refuses
    {
        my ($before) = map { token($_) } known($nginx, '/token');

        known($nginx, '/api');
        $api->reset;
        $api->next({ status => 401 });

        is($nginx->get('/api')->{status}, 200, 'the API refuses the token');

        my @after = map { token($_) // '' } everywhere($nginx, '/token', 3);
        everywhere($nginx, '/api', 3);

        is(scalar(grep { $_ eq $before } @after), 0,
            "... which none $of serves any more");
        is(scalar(keys %{ { map { $_ => 1 } @after } }), 1, '... but another one');

        my @sent = map { /^Authorization: Bearer (\S+)/m } $api->requests;

        is(scalar(grep { $_ eq $before } @sent), 1, '... nor sends it again');
        cmp_ok(scalar(@sent), '>', 3 * $workers, '... among many');
    }


    # token_proxy_cache_bypass
    {
        my ($before) = map { token($_) } known($nginx, '/new');

        # it is renewed no more than once a second
        sleep 1.1;

        my $renewed = $nginx->get('/new?new=1');
        my $new = token($renewed);

        another($renewed, $before, 'token_proxy_cache_bypass: a new token');

        my @after = everywhere($nginx, '/new', 3);

        is(scalar(grep { token($_) ne $new } @after), 0, "... for all $of");
    }


    # an expiry, and no other token after it
    {
        $endpoint->next({ expires_in => 2 }, { status => 500 });

        my $first = $nginx->get('/old');
        my $end = $first->{received} + 2;
        my @got;

        push @got, everywhere($nginx, '/old', 1) while time < $end + 1;

        my @late = grep { $_->{sent} > $end } @got;
        my @hits = grep { $_->{status} == 200 } @got;

        cmp_ok(scalar(@hits), '>', 2 * $workers, "a token $of for two seconds");
        cmp_ok(scalar(@late), '>', $workers, '... is asked for after its expiry');
        is(scalar(grep { $_->{status} == 200 } @late), 0, '... and never served then');
    }


    # counts
    {
        my $before = hits($nginx);

        my $number = everywhere($nginx, '/token', 5);

        is(hits($nginx) - $before, $number, "hits $of: each counts");

        # one that is killed, and all that end with a reload
        my ($victim, @others) = $nginx->workers;
        kill KILL => $victim;
        ok((wait_for { my @now = $nginx->workers;
            @now == $workers && !grep { $_ == $victim } @now }), '... one is killed');
        is(hits($nginx) - $before, $number, '... its hits stay');

        my $token = token($nginx->get('/token'));
        $nginx->reload;
        is(hits($nginx) - $before, $number + 1, '... as they do with a reload');

        my @got = everywhere($nginx, '/token', 3);

        is(scalar(grep { token($_) ne $token || status($_) ne 'HIT' } @got), 0,
            '... and so does the token');
        is(hits($nginx) - $before, $number + 1 + @got, '... whose hits are added');

        my @workers = $nginx->workers;
        my $calls = $endpoint->calls;

        $api->next({ status => 401 });
        is($nginx->get('/api')->{status}, 200, '... until it is refused');
        is(scalar(grep { token($_) eq $token } everywhere($nginx, '/token', 3)), 0,
            '... for the new workers');
        is($endpoint->calls, $calls + 1, '... of which one calls');
    }

    like($nginx->error_log, qr/exited on signal 9/, 'the log has the kill');
    is_deeply([$nginx->error_log =~ /^(?!.*exited on signal 9).*\[(?:alert|crit|emerg)\].*$/mg],
        [], '... and nothing else');
}


# a zone that turns over, and copies that have a bound
{
    my $endpoint = Token::Endpoint->new;

    my $nginx = Token::Server->new(
        log_level => 'info',
        http => zone('16m') . <<"END",
    token_proxy_cache_zone  zone=small:256k;
    access_log          off;
    keepalive_requests  1000000;
    server {
        listen  unix:\@DIR\@/endpoint.sock;
        default_type  application/json;
        return  200 '{"access_token":"AT-$large","expires_in":3600}';
    }
END
        server => join('',
            location('token', $endpoint->url, 'token_proxy_cache small',
                'token_proxy_cache_key "$arg_key"'),
            location('large', 'http://unix:@DIR@/endpoint.sock:/token',
                'token_proxy_cache_key "$arg_key"')),
    )->start;

    # an entry that has gone
    my ($first) = map { token($nginx->get('/token?key=first')) } 1 .. 5;

    for my $round (1 .. 4) {
        ask($nginx, map { "/token?key=$round-$_" } 1 .. 600);
    }

    my $again = $nginx->get('/token?key=first');

    is(status($again), 'MISS', 'an entry has been evicted: no hit');
    another($again, $first, '... and not its token');

    SKIP: {
        skip 'AddressSanitizer keeps what was freed', 1
            if `$NGINX -V 2>&1` =~ /-fsanitize/;

        # each three times, so that it has a copy
        ask($nginx, map { ("/large?key=$_") x 3 } 1 .. 800);
        my $before = memory($nginx);

        ask($nginx, map { ("/large?key=$_") x 3 } 801 .. 5000);
        my $after = memory($nginx);

        cmp_ok($after - $before, '<', 2048, 'copies of 5000 tokens of 2 KB take '
            . "no more than some: $before kB, then $after kB");
    }

    is(ask($nginx, map { ("/large?key=$_") x 3 } 4900 .. 5000), 303,
        '... and all are served');
}


# Tenants that come one after the other, again and again: some of them share
# the place where a worker notes whom it has seen.
{
    my $endpoint = Token::Endpoint->new;

    my $nginx = Token::Server->new(
        log_level => 'info',
        http => zone() . "access_log off;\nkeepalive_requests 1000000;\n",
        server => location('tenant', $endpoint->url, 'token_proxy_param scope $arg_key'),
    )->start;

    my @tenants = map { "/tenant?key=$_" } 1 .. 300;
    my ($pid) = $nginx->workers;

    ask($nginx, @tenants) for 1 .. 40;

    my $unlock = hold_lock($nginx);

    # a worker that waits for the lock is not woken by a word in memory
    local $SIG{ALRM} = sub { kill KILL => $pid };

    alarm 10;
    my $got = ask($nginx, @tenants);
    alarm 0;
    $unlock->();

    is($got, 300, 'the zone is locked, and 300 tenants come in turns: all are hits');
}


# Asks until each worker has answered so many times.
sub everywhere {
    my ($nginx, $path, $times, $timeout) = @_;
    my %count = map { $_ => 0 } $nginx->workers;
    my @got;

    while (min(values %count) < $times) {
        my $client = Token::Client->new($nginx->port);

        die "$path: a worker does not answer\n" if @got > 400 * $times;

        $client->send($path) for 1 .. 8;

        for my $one ($client->receive($timeout // 10)) {
            $one->{status} //= 0;
            push @got, $one;

            my $pid = $one->{headers}{'x-pid'} or return @got;
            $count{$pid}++;
        }
    }

    return @got;
}


# The same, until each worker has a copy: not of the first hit, but the second.
sub known {
    my ($nginx, $path) = @_;

    return everywhere($nginx, $path, 1), everywhere($nginx, $path, 3);
}


# Takes the lock of the zone, its first word, as if a process had it.
sub hold_lock {
    my ($nginx) = @_;
    my ($pid) = $nginx->workers;
    my ($zone) = grep { length $_->[1] == 1 << 20 } shared_memory($pid);

    die "there is no zone\n" if !$zone;

    my $write = sub {
        open my $mem, '+<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!\n";
        sysseek $mem, $zone->[0], 0;
        syswrite $mem, pack 'q', $_[0];
    };

    $write->($$);

    return sub { $write->(0) };
}


sub hits {
    my ($nginx) = @_;
    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{tokens};
    my ($endpoint) = values %{ $zone->{endpoints} };

    return $endpoint->{hits};
}


# Requests one after the other on one connection: how many got a token.
sub ask {
    my ($nginx, @paths) = @_;
    my $socket = $nginx->connect;
    my $got = 0;

    while (my @batch = splice @paths, 0, 30) {
        my $answers = '';
        my $n = 0;

        syswrite $socket, join '', map { "GET $_ HTTP/1.1\r\nHost: a\r\n\r\n" } @batch;

        while ($n < @batch) {
            sysread $socket, $answers, 262_144, length $answers or return $got;
            $n = () = $answers =~ /"access_token":"AT-[^"]+"/g;
        }

        $got += $n;
    }

    return $got;
}


# kB that the worker has for itself alone
sub memory {
    my ($nginx) = @_;
    my ($pid) = $nginx->workers;

    return slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : die "no memory\n";
}
