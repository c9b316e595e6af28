# A hundred thousand keys in a zone of a megabyte: the oldest make room, and
# nothing grows.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 18;
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use Time::HiRes qw(time);
use Token::Cache;
use Token::Server;
use Token::Util qw($NGINX slurp wait_for);

my $KEYS = 100_000;
my $PROCESSES = 4;
my $BATCH = 50;

my $token = 'AT-1' . 'x' x 1020;

# nginx takes no longer word in its configuration than 4 kB
my $large = join '', map { "\$large" } 1 .. 8;

my $nginx = Token::Server->new(
    workers => 2,
    log_level => 'info',
    http => zone() =~ s/add_header(?!.*X-Cache).*\n//gr . <<"END",
    token_proxy_cache_zone  zone=small:32k;
    access_log          off;
    keepalive_requests  1000000;
    map "" \$large { default @{[ 'AT-2' . 'x' x 2500 ]}; }
    upstream endpoint {
        server              unix:\@DIR\@/endpoint.sock;
        keepalive           64;
        keepalive_requests  1000000;
    }
    server {
        listen  unix:\@DIR\@/endpoint.sock;
        default_type  application/json;
        location = /large {
            return  200 '{"access_token":"$large","expires_in":3600}';
        }
        location / {
            return  200 '{"access_token":"$token","expires_in":3600,"token_type":"Bearer"}';
        }
    }
END
    server => join('',
        location('token', 'http://endpoint/token',
            'token_proxy_cache_key "$arg_key"',
            'proxy_set_header Connection ""'),
        location('small', 'http://endpoint/small', 'token_proxy_cache small'),
        location('large', 'http://endpoint/large', 'token_proxy_cache small'),
        'location = /status { stub_status; }',
        'location = /token_status { token_proxy_status; }',
    ),
)->start;


# a part of them first, so that all has been allocated that will be
my $start = time;
is(ask(1, 20_000), 20_000, 'the first 20,000 keys: all are answered');
my %before = memory();

is(ask(20_001, $KEYS), $KEYS - 20_000, 'up to 100,000: all are answered');
my %after = memory();

note(sprintf '%.1f s', time - $start);

SKIP: {
    skip 'AddressSanitizer keeps what was freed', scalar keys %before
        if `$NGINX -V 2>&1` =~ /-fsanitize/;

    for my $pid (sort keys %before) {
        cmp_ok($after{$pid} - $before{$pid}, '<', 512,
            "the memory of a worker does not grow: $before{$pid} kB, then "
            . "$after{$pid} kB");
    }
}

is_deeply([sort keys %after], [sort keys %before], 'the same workers');
is_deeply([$nginx->error_log =~ /^.*\[(?:warn|error|crit|alert|emerg)\].*$/mg],
    [], 'nothing above info in the log');


# How many there are: from the last one back, until one has been evicted. A hit
# evicts nothing, but makes an entry the youngest.
{
    my $entries = 0;

    ask(200_001, 201_000, 1);

    for my $key (reverse 200_001 .. 201_000) {
        last if status($nginx->get("/token?key=$key")) ne 'HIT';
        $entries++;
    }

    cmp_ok(2 ** 20 / ($entries || 1), '<=', 1500, "$entries tokens of 1 KB fit into 1 MB");
    diag(sprintf '%d bytes for a token of 1 KB: %d in a zone of 1 MB',
        2 ** 20 / ($entries || 1), $entries);
}


# least recently used: what is asked for stays
{
    $nginx->get('/token?key=kept');

    my $hits = 0;

    for my $round (0 .. 19) {
        ask(300_001 + 100 * $round, 300_100 + 100 * $round, 1);
        $hits++ if status($nginx->get('/token?key=kept')) eq 'HIT';
    }

    is($hits, 20, 'a token that is asked for stays, while 2000 come and go');
}

# so do 400 of the 700 that there is room for
{
    pipelined(400_001 .. 400_400) for 1 .. 10;

    my $before = misses();

    pipelined(500_000 + $_, 400_001 .. 400_400) for 1 .. 100;

    is(misses() - $before, 100, '400 stay, while 100 come');
}

# a token for which the zone is too small
{
    is(status($nginx->get('/small')), 'MISS', 'a zone of 32 kB');
    is(status($nginx->get('/small')), 'HIT', '... holds a token');

    for (1, 2) {
        my $response = $nginx->get('/large');

        is(length token($response), 20_032, 'one of 20 kB is handed on');
        is(status($response), 'MISS', '... but not kept');
    }

    is(status($nginx->get('/small')), 'HIT', '... and drives no other out');
    like($nginx->error_log, qr/\[warn\].* a token of \d+ bytes does not fit into its cache/,
        '... which the log tells');
}

wait_for { $nginx->get('/status')->{content} =~ /Active connections: 1\b/ };
$nginx->stop('QUIT');
unlike($nginx->error_log, qr/open socket/, 'no connection is left');


# Asks for the keys from .. to, by several processes: how many got the token.
sub ask {
    my ($from, $to, $processes) = @_;
    my @pipes;
    my $sum = 0;

    $processes //= $PROCESSES;

    for my $n (0 .. $processes - 1) {
        pipe(my $in, my $out) or die "pipe: $!\n";

        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            close $in;
            my @keys = grep { $_ % $processes == $n } $from .. $to;
            print $out eval { pipelined(@keys) } // 0;
            close $out;
            POSIX::_exit(0);
        }

        close $out;
        push @pipes, [$pid, $in];
    }

    for (@pipes) {
        my ($pid, $in) = @$_;
        $sum += readline $in;
        waitpid $pid, 0;
    }

    return $sum;
}


sub pipelined {
    my @keys = @_;
    my $socket = $nginx->connect;
    my $got = 0;

    while (my @batch = splice @keys, 0, $BATCH) {
        my $answers = '';
        my $n = 0;

        syswrite $socket, join '', map {
            "GET /token?key=$_ HTTP/1.1\r\nHost: a\r\n\r\n" } @batch;

        while ($n < @batch) {
            sysread $socket, $answers, 262_144, length $answers or return $got;
            $n = () = $answers =~ /"access_token":"$token"\}/g;
        }

        $got += $n;
    }

    return $got;
}


sub misses {
    my $zone = decode_json($nginx->get('/token_status')->{content})->{zones}{tokens};
    my ($endpoint) = values %{ $zone->{endpoints} };

    return $endpoint->{misses};
}


# kB that a process has for itself alone
sub memory {
    return map { $_ => slurp("/proc/$_/status") =~ /^RssAnon:\s+(\d+)/m }
        $nginx->workers;
}
