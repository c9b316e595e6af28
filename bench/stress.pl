# The part of stress.sh that asks and judges.
#
# A token is N-EXPIRY: its number and the time in milliseconds at which it ends,
# as its endpoint has told. One process asks, on many connections at once, so
# that all times are of one clock: what was sent after a time must not be served
# what had ended at that time.

use strict;
use warnings;

use IO::Poll qw(POLLIN);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep time);
use Token::Client;
use Token::Server;
use Token::Util qw(end_child wait_for);

my $seconds = shift // 60;
my $WORKERS = 8;
my $KEYS = 6;
my $AT_ONCE = 24;

my ($endpoint, $endpoint_pid) = server(\&token);
my ($api, $api_pid) = server(\&data);

my $nginx = Token::Server->new(
    workers => $WORKERS,
    listen => 'reuseport',
    log_level => 'error',
    http => <<"END",
    access_log  off;
    token_proxy_cache_zone     zone=tokens:192k;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_retry_backoff  1ms 10ms;
END
    server => <<"END",
        token_proxy_cache  tokens;

        location = /token {
            token_proxy               on;
            token_proxy_endpoint      http://127.0.0.1:$endpoint/token;
            token_proxy_cache_key     "\$arg_key";
            token_proxy_cache_bypass  \$arg_new;
        }

        location = /hit {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/hit;
        }

        location = /last {
            token_proxy                 on;
            token_proxy_endpoint        http://127.0.0.1:$endpoint/last;
            token_proxy_refresh_before  0;
        }

        location = /for_api {
            internal;
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/for_api;
        }

        location = /api {
            token_proxy_bearer  /for_api;
            proxy_pass          http://127.0.0.1:$api;
        }
END
)->start;

my %count = map { $_ => 0 } qw(answers tokens numbers bypasses refused reloads kills failed);
my (%newest, %seen, @wrong);
my $end = time + $seconds;
my $churn = churn();
my ($reload, $kill) = (time + 2, time + 3);
my @paths = ((map { "/token?key=$_" } 1 .. $KEYS), ('/hit', '/last', '/api') x 2);

while (time < $end) {
    my @sent = map { one($paths[rand @paths]) } 1 .. $AT_ONCE;

    receive(@sent);

    if (time > $reload) {
        kill HUP => $nginx->pid;
        $count{reloads}++;
        $reload = time + 2;
    }

    if (time > $kill) {
        my @workers = $nginx->workers;

        $count{kills} += kill KILL => $workers[rand @workers] if @workers;
        $kill = time + 3;
    }
}

kill TERM => $churn;
waitpid $churn, 0;
$nginx->stop;
kill TERM => $endpoint_pid, $api_pid;

$count{numbers} = keys %seen;

print "| what | number |\n|---|---|\n";
print "| $_ | $count{$_} |\n" for qw(answers tokens numbers bypasses refused reloads kills failed);
print "\n";

die join "\n", "a token was served that had ended:", @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)], ''
    if @wrong;
die "there was too little of something\n"
    if $count{tokens} < 100 * $seconds || $count{numbers} < $seconds
    || grep { !$count{$_} } qw(bypasses refused reloads);

print "No token was served after its end.\n";


# A request, and what is known when it is sent: the newest token of its kind.
sub one {
    my ($path) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $nginx->port, Proto => 'tcp', Timeout => 5) or return ();
    my $what = $path;

    if ($path =~ /key=/ && rand() < 0.02) {
        $path .= '&new=1';
        $count{bypasses}++;
    }

    my $refuse = $path eq '/api' && rand() < 0.02 ? "X-Refuse: 1\r\n" : '';
    my $time = time;

    syswrite $socket, "GET $path HTTP/1.1\r\nHost: a\r\nX-Sent: $time\r\n$refuse"
        . "Connection: close\r\n\r\n";

    return { socket => $socket, what => $what, sent => $time,
        newest => $newest{$what} // 0, bytes => '' };
}


sub receive {
    my @sent = @_;
    my %open = map { fileno $_->{socket} => $_ } @sent;
    my $select = IO::Select->new(map { $_->{socket} } @sent);
    my $late = time + 10;

    while (%open && time < $late) {
        for my $socket ($select->can_read(1)) {
            my $one = $open{ fileno $socket };

            next if sysread $socket, $one->{bytes}, 65536, length $one->{bytes};

            delete $open{ fileno $socket };
            $select->remove($socket);
            judge($one);
        }
    }

    $count{failed} += keys %open;
}


sub judge {
    my ($one) = @_;

    $count{answers}++;
    $count{refused}++ if $one->{bytes} =~ /^X-Refused: [1-9]/m;
    push @wrong, $1 if $one->{bytes} =~ /^X-Wrong: (.+?)\r$/m;

    my ($n, $expiry) = $one->{bytes} =~ /(?:"access_token":"|accepted )(\d+)-(\d+)/
        or return $count{failed}++;

    $count{tokens}++;
    $seen{$n} = 1;

    push @wrong, "$one->{what}: $n, sent at $one->{sent}, after its expiry at $expiry"
        if $one->{sent} * 1000 > $expiry;

    return if $one->{what} eq '/api';

    push @wrong, "$one->{what}: $n, after $one->{newest}" if $n < $one->{newest};
    $newest{ $one->{what} } = $n if $n > ($newest{ $one->{what} } // 0);
    return;
}


# Other tokens that come and go, so that entries are evicted.
sub churn {
    my $pid = fork // die "fork: $!\n";

    return $pid if $pid;

    $SIG{TERM} = sub { POSIX::_exit(0) };

    while (1) {
        eval { $nginx->get('/token?key=other-' . int rand 1000) };
        sleep 0.002;
    }
}


# A server in a process of its own: its port and its pid.
sub server {
    my ($answer) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
        Listen => 511) or die "server: $!\n";
    my $pid = fork // die "fork: $!\n";

    return ($listen->sockport, $pid) if $pid;

    $SIG{TERM} = 'DEFAULT';
    $SIG{PIPE} = 'IGNORE';

    while (1) {
        my $socket = $listen->accept or next;
        my $request = '';

        while ($request !~ /\r\n\r\n/) {
            sysread $socket, $request, 65536, length $request or last;
        }

        syswrite $socket, $answer->($request) if length $request;
        close $socket;
    }
}


# The endpoint. The lifetime counts from the request for the token.
sub token {
    my ($request) = @_;
    our $n;
    my $lifetime = 1 + int rand 3;
    my $body = sprintf '{"access_token":"%d-%d","expires_in":%d,"x":"%s"}', ++$n,
        1000 * (time + $lifetime), $lifetime, 'x' x 1000;

    return answer('200 OK', $body);
}


# The API. It refuses all tokens so far when it is told to, and knows when it
# has accepted a newer one: what was sent after that must not come with an old
# one.
sub data {
    my ($request) = @_;
    our ($newest, $revoked, $accepted);
    my ($n, $expiry) = $request =~ /^Authorization: Bearer (\d+)-(\d+)/m
        or return answer('400 Bad', 'no token');
    my ($sent) = $request =~ /^X-Sent: (\S+)/m;
    my @headers;

    $newest //= 0;
    $revoked //= 0;

    push @headers, "X-Wrong: API: $n, sent at $sent, after one above $revoked at $accepted"
        if $accepted && $n <= $revoked && $sent > $accepted;

    if ($request =~ /^X-Refuse/m && $n == $newest && $n > $revoked) {
        $revoked = $n;
        undef $accepted;
    }

    $newest = $n if $n > $newest;

    if ($n <= $revoked) {
        our $refused++;
        return answer('401 Unauthorized', 'refused', @headers);
    }

    $accepted //= time;

    our $refused //= 0;
    push @headers, "X-Refused: $refused";
    $refused = 0;

    return answer('200 OK', "accepted $n-$expiry", @headers);
}


sub answer {
    my ($status, $body, @headers) = @_;

    return join "\r\n", "HTTP/1.1 $status", 'Connection: close',
        'Content-Length: ' . length $body, @headers, '', $body;
}
