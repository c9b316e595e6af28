# Faults of the endpoint and of the machine, without a cache and with one: each
# time the right answer, one line in the log, no connection that stays, and a
# worker that goes on.

use strict;
use warnings;
use lib 't/lib';

use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More tests => 446;
use Time::HiRes qw(sleep time);
use Token::Server;
use Token::Util qw(free_port nginx_since slurp spew wait_for);

my $TOKEN = '{"access_token":"a-token"}';
my $HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

my %ANSWER = (
    unreachable => [502, 'could not be reached'],
    incomplete  => [502, 'gave no complete answer'],
    invalid     => [502, 'gave an invalid answer'],
    slow        => [504, 'did not answer in time'],
    internal    => [500, 'cannot be made'],
    ok          => [200, '{"access_token":"a-token"}'],
);

# nginx skips a 103 since 1.29.0; before, and with a 100, what comes first is
# the answer.
my @FIRST = (invalid => qr/token endpoint "http:\S+" answered 10[03]/);
my @HINTS = nginx_since('1.29.0') ? (ok => undef) : @FIRST;

# What the endpoint does with a connection (its request has been read), what
# the caller gets, and the line in the log.
my @FAULTS = (
    [closes => sub { },
        unreachable => qr/prematurely closed connection while reading response header/],
    [resets => sub { setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) },
        unreachable => qr/recv\(\) failed \(104: Connection reset by peer\)/],
    [in_status => sub { send_all($_[0], 'HTTP/1.1 2') },
        unreachable => qr/prematurely closed connection while reading response header/],
    [in_header => sub { send_all($_[0], "${HEAD}Content-Le") },
        unreachable => qr/prematurely closed connection while reading response header/],
    [after_header => sub { send_all($_[0], "${HEAD}Content-Length: 26\r\n\r\n") },
        incomplete => qr/prematurely closed connection while reading upstream/],
    [in_body => sub { send_all($_[0], "${HEAD}Content-Length: 26\r\n\r\n", substr $TOKEN, 0, 20) },
        incomplete => qr/prematurely closed connection while reading upstream/],
    [in_chunk => sub { send_all($_[0], "${HEAD}Transfer-Encoding: chunked\r\n\r\n1a\r\n", substr $TOKEN, 0, 20) },
        incomplete => qr/prematurely closed connection while reading upstream/],
    [no_last_chunk => sub { send_all($_[0], "${HEAD}Transfer-Encoding: chunked\r\n\r\n1a\r\n$TOKEN\r\n") },
        incomplete => qr/prematurely closed connection while reading upstream/],
    [early_hints => sub { send_all($_[0], "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n$HEAD\r\n$TOKEN") },
        @HINTS],
    [continue => sub { send_all($_[0], "HTTP/1.1 100 Continue\r\n\r\n$HEAD\r\n$TOKEN") },
        @FIRST],
    [no_length => sub { send_all($_[0], "$HEAD\r\n$TOKEN") }, ok => undef],
    [odd_chunks => sub { send_all($_[0], "${HEAD}Transfer-Encoding: chunked\r\n\r\n",
        (map { sprintf "%x;x=y\r\n%s\r\n", length, $_ } $TOKEN =~ /(.{1,3})/g), "0\r\nX-Trailer: y\r\n\r\n") },
        ok => undef],
    [in_bytes => sub { for (split //, "$HEAD\r\n$TOKEN") { send_all($_[0], $_); sleep 0.003 } },
        ok => undef],
    [lone_lf => sub { send_all($_[0], "HTTP/1.1 200 OK\nContent-Type: application/json\n\n$TOKEN") },
        ok => undef],
    [stays_silent => sub { sleep 4 }, slow => qr/upstream timed out/],
    [stops_in_header => sub { send_all($_[0], "${HEAD}Content-Le"); sleep 4 },
        slow => qr/upstream timed out/],
    [stops_in_body => sub { send_all($_[0], "${HEAD}Content-Length: 26\r\n\r\n{"); sleep 4 },
        slow => qr/upstream timed out/],
    [garbage_after => sub { send_all($_[0], "$HEAD\r\n$TOKEN<html>") },
        invalid => qr/is not a JSON object/],
    [gzip => sub { send_all($_[0], "${HEAD}Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\3") },
        invalid => qr/answer of token endpoint/],
    [deep => sub { send_all($_[0], "$HEAD\r\n{\"access_token\":\"a\",\"x\":", '[' x 100_000, ']' x 100_000, '}') },
        invalid => qr/is not a JSON object/],
    [deep_open => sub { send_all($_[0], "$HEAD\r\n", '{"x":' x 40_000) },
        invalid => qr/is not a JSON object/],
    [large => sub { send_all($_[0], "${HEAD}Content-Length: 52428800\r\n\r\n"); megabytes($_[0], 50) },
        incomplete => qr/too big subrequest response/],
    [large_chunked => sub { send_all($_[0], "${HEAD}Transfer-Encoding: chunked\r\n\r\n3200000\r\n"); megabytes($_[0], 50) },
        incomplete => qr/too big subrequest response/],
    [large_until_closed => sub { send_all($_[0], "$HEAD\r\n"); megabytes($_[0], 50) },
        incomplete => qr/too big subrequest response/],
    [redirect => sub { send_all($_[0], "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") },
        invalid => qr/answered 302/],
    [no_content => sub { send_all($_[0], "HTTP/1.1 204 No Content\r\n\r\n") },
        invalid => qr/answered 204/],
    [empty => sub { send_all($_[0], "${HEAD}Content-Length: 0\r\n\r\n") },
        invalid => qr/is not a JSON object/],
    [bom => sub { send_all($_[0], "$HEAD\r\n\xef\xbb\xbf$TOKEN") },
        invalid => qr/is not a JSON object/],
    [duplicate => sub { send_all($_[0], "$HEAD\r\n{\"access_token\":1,\"access_token\":\"a-token\",\"token_type\":\"b\"}") },
        ok => undef],
    [nul => sub { send_all($_[0], "$HEAD\r\n{\"access_token\":\"a\0b\"}") },
        invalid => qr/is not a JSON object/],
    [lone_surrogate => sub { send_all($_[0], "$HEAD\r\n{\"access_token\":\"\\ud800\"}") },
        invalid => qr/is not a JSON object/],
    [infinite => sub { send_all($_[0], "$HEAD\r\n{\"access_token\":\"a-token\",\"expires_in\":1e400}") },
        ok => undef],
    [many_headers => sub { send_all($_[0], "HTTP/1.1 200 OK\r\n", "X: y\r\n" x 200_000, "\r\n$TOKEN") },
        unreachable => qr/upstream sent too big header/],
);

# one that never answers
my $resolver = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp')
    or die "resolver: $!\n";

my $port = free_port();
my $endpoint = endpoint();
my $timeouts = 'proxy_connect_timeout 700ms; proxy_send_timeout 700ms; proxy_read_timeout 2s;';
my $credentials = 'token_proxy_client_id my-key; token_proxy_client_secret my-secret;';

# with a backoff that outlives the test
my $cached = <<"END";
        location /cached/ {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$port\$uri;
            token_proxy_cache     tokens;
            token_proxy_cache_default_ttl 1h;
            token_proxy_retry_backoff 30s 30s;
        }
END

my $nginx = Token::Server->new(
    log_level => 'error',
    http => <<"END",
        token_proxy_cache_zone     zone=tokens:1m;
        $credentials
        $timeouts
END
    server => <<"END")->start;
    location /plain/ {
        token_proxy                   on;
        token_proxy_endpoint          http://127.0.0.1:$port\$uri?code=my-secret;
        token_proxy_max_response_size 1m;
    }

    location /cached/ {
        token_proxy                   on;
        token_proxy_endpoint          http://127.0.0.1:$port\$uri?code=my-secret;
        token_proxy_max_response_size 1m;
        token_proxy_cache             tokens;
        token_proxy_cache_default_ttl 1h;
        token_proxy_retry_backoff     1ms 1ms;
    }

    location = /unresolved {
        set \$host_name token-endpoint.invalid;
        resolver 127.0.0.1:@{[ $resolver->sockport ]} valid=1s;
        resolver_timeout 300ms;
        token_proxy           on;
        token_proxy_endpoint  http://\$host_name/token;
    }

    location = /status { stub_status; }
END

my ($worker) = $nginx->workers;

# what a worker opens once
ask('/plain/no_length');
ask('/cached/no_length');
ask('/unresolved');

my $before = sockets();

for my $fault (@FAULTS) {
    my ($name, undef, $answer, $line) = @$fault;

    for my $kind (qw(plain cached)) {
        check("$kind, $name", "/$kind/$name", $answer, $line);
    }
}

check('a host that is not found', '/unresolved', unreachable =>
    qr/token-endpoint\.invalid could not be resolved/);

# A byte now and then: the fetch has an end all the same, and with a cache a
# caller waits no longer than token_proxy_lock_timeout.
for my $kind (qw(plain cached)) {
    my $start = time;
    my $log = length $nginx->error_log;

    is(ask("/$kind/trickles")->{status}, 504, "$kind: a byte now and then: 504");
    cmp_ok(time - $start, '<', 8, '... within the time of connecting, sending and reading');
    like(substr($nginx->error_log, $log), qr/did not end its answer in time/,
        '... which the log says');
    ok((wait_for { sockets() <= $before } 5), '... and the connection is gone');
}

# Callers who leave at each stage of the fetch.
for my $path ('/unresolved', map { ("/plain/$_", "/cached/$_") }
    qw(stays_silent stops_in_header stops_in_body large))
{
    my $caller = $nginx->connect;

    print $caller "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
    $caller->flush;
    sleep 0.1;
    close $caller;

    ok((wait_for { active() == 1 } 5), "$path: the caller leaves");
    ok((wait_for { sockets() <= $before } 5), '... and leaves no connection behind')
        or diag(sockets() . " sockets, $before before");
}

is(($nginx->workers)[0], $worker, 'it was the same worker all the time');
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\]|my-secret/, 'no alert, no secret');
$nginx->stop;


# No more connections: those that nginx has are used up by callers who wait.
{
    my $small = Token::Server->new(
        log_level => 'error',
        http => "token_proxy_cache_zone zone=tokens:1m; $credentials $timeouts",
        server => <<"END");
        location /plain/ {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$port\$uri;
        }

$cached
END

    few_connections($small, 10);
    $small->start;

    for my $kind (qw(plain cached)) {
        my (@idle, %failed);

        # as many as there is room for, until none is left for a caller
        for (1 .. 12) {
            push @idle, $small->connect;
            print { $idle[-1] } "GET / HTTP/1.0\r\n";
            $idle[-1]->flush;
            sleep 0.05;
            my $asking = eval { $small->connect } or last;
            my $path = "/$kind/no_length/$_";
            print $asking "GET $path HTTP/1.0\r\n\r\n";
            $asking->flush;
            my ($status) = read_all($asking) =~ /^HTTP\S+ (\d+)/ or last;
            $failed{$path} = $status if $status != 200;
        }

        # one for the call, and one that it belongs to
        is(scalar(keys %failed), 2, "$kind: no connection is left for the endpoint");
        is_deeply([map { $failed{$_} } sort keys %failed], [502, 500],
            '... which is an error');
        like($small->error_log, qr/worker_connections are not enough/, '... and said in the log');

        close $_ for @idle;
        @idle = ();
        sleep 0.3;

        # it was no fault of the endpoint's: no token_proxy_retry_backoff
        is($small->get($_)->{status}, 200, "... $failed{$_}, and over when they have gone")
            for sort keys %failed;
    }

    is(scalar(() = $small->error_log =~ /exited on signal/g), 0, 'the worker lives');
    $small->stop;
}


# ... in one of two workers: the other one is not kept from calling.
{
    my $two = Token::Server->new(
        workers => 2,
        listen => 'reuseport',
        connections => 12,
        log_level => 'error',
        http => "token_proxy_cache_zone zone=tokens:1m; $credentials $timeouts",
        server => <<"END")->start;
        add_header X-Pid \$pid always;
$cached
END

    my ($full, $other) = $two->workers;
    my $got = { status => 0, headers => {} };
    my ($path, @idle);

    for my $n (1 .. 100) {
        $path = "/cached/no_length/$n";
        $got = $two->get($path);

        next if ($got->{headers}{'x-pid'} // 0) != $full;
        last if $got->{status} != 200;
        push @idle, idle($two, $full);
    }

    is($got->{status}, 502, 'two workers: no connection is left in one');

    for (1 .. 100) {
        $got = $two->get($path);
        last if ($got->{headers}{'x-pid'} // 0) == $other;
    }

    is($got->{status}, 200, '... and the other one calls at once');
    $two->stop;
}


# The worker dies in the middle of a call: its callers are cut off, the next
# ones served.
{
    my $killed = Token::Server->new(
        log_level => 'error',
        http => "token_proxy_cache_zone zone=tokens:1m; $credentials",
        server => <<"END")->start;
        location /plain/ {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$port\$uri;
        }
END

    my $caller = $killed->connect;
    my ($victim) = $killed->workers;

    print $caller "GET /plain/stays_silent HTTP/1.0\r\n\r\n";
    $caller->flush;
    sleep 0.3;
    kill KILL => $victim;

    is(read_all($caller), '', 'a worker is killed: its caller gets nothing');
    ok((wait_for {; my ($new) = $killed->workers; $new && $new != $victim } 5),
        '... there is another one');
    is($killed->get('/plain/no_length')->{status}, 200, '... which goes on');
    $killed->stop;
}

kill KILL => $endpoint;


# One call: its answer, its line, and what is left of it.
sub check {
    my ($name, $path, $answer, $line) = @_;
    my ($status, $text) = @{ $ANSWER{$answer} };
    my $log = length $nginx->error_log;
    my $response = ask($path);

    is($response->{status}, $status, "$name: $status");
    like($response->{content}, qr/\Q$text\E/, '... and what belongs to it');
    is($response->{headers}{'cache-control'}, 'no-store', '... kept by nobody');

    my $said = substr $nginx->error_log, $log;
    my @lines = split /\n/, $said;

    is(scalar(@lines), $line ? 1 : 0, '... so many lines in the log') or diag($said);
    like($said, $line // qr/^\z/, '... that say why');

    ok((wait_for {; active() == 1 && sockets() <= $before } 3), '... no connection is left')
        or diag("active ", active(), ", sockets ", sockets(), " of $before");
}


sub ask { return $nginx->get($_[0], Connection => 'close') }


# Connections of the worker, the one that asks included.
sub active {
    my ($n) = ask('/status')->{content} =~ /Active connections: (\d+)/;

    return $n // -1;
}


sub sockets {
    my ($pid) = @_;

    $pid //= $worker // ($nginx->workers)[0];

    return scalar grep { (readlink($_) // '') =~ /^socket:/ } glob "/proc/$pid/fd/*";
}


# A connection that takes one of a worker's.
sub idle {
    my ($server, $pid) = @_;

    for (1 .. 50) {
        my $before = sockets($pid);
        my $socket = $server->connect;

        print $socket "GET / HTTP/1.0\r\n";
        $socket->flush;
        return $socket if wait_for { sockets($pid) > $before } 0.1;
        close $socket;
    }

    return;
}


sub few_connections {
    my ($server, $n) = @_;
    my $file = $server->dir . '/conf/nginx.conf';
    my $text = slurp($file) =~ s/worker_connections \d+/worker_connections $n/r;

    spew($file, $text);
}


sub read_all {
    my ($socket) = @_;
    my $answer = '';

    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 10;
    1 while sysread $socket, $answer, 65536, length $answer;
    alarm 0;
    return $answer;
}


# The endpoint, a process for each connection.
sub endpoint {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 128, ReuseAddr => 1) or die "endpoint: $!\n";
    my %fault = map { $_->[0] => $_->[1] } @FAULTS;
    my $parent = $$;

    $fault{trickles} = sub {
        send_all($_[0], "${HEAD}Content-Length: 1000000\r\n\r\n");
        for (1 .. 60) { send_all($_[0], ' ') or last; sleep 0.2 }
    };

    my $pid = fork // die "endpoint: $!\n";
    return $pid if $pid;

    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';

    # a test that has died does not leave it
    $listen->timeout(1);

    while (getppid() == $parent) {
        my $client = $listen->accept or next;

        if (!fork) {
            my $request = '';

            alarm 30;
            $request .= <$client> // last until $request =~ /\r\n\r\n/;
            read $client, my $body, $1 if $request =~ /^Content-Length: (\d+)/m;
            my ($name) = $request =~ m{^POST /\w+/(\w+)};
            ($fault{ $name // '' } // sub { })->($client);
            close $client;
            POSIX::_exit(0);
        }

        close $client;
    }

    POSIX::_exit(0);
}


sub send_all {
    my ($socket, @bytes) = @_;

    for my $bytes (@bytes) {
        my $sent = 0;

        while ($sent < length $bytes) {
            $sent += syswrite($socket, $bytes, length($bytes) - $sent, $sent) // return 0;
        }
    }

    return 1;
}


sub megabytes {
    my ($socket, $n) = @_;
    my $megabyte = '{"access_token":"' . 'a' x (1048576 - 17);

    for (1 .. $n) { send_all($socket, $megabyte) or return }
}
