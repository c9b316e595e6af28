#!/usr/bin/env perl
#
# Random callers at random configurations, with reloads and killed workers, and
# a store of tokens that dies and is frozen:
#
#     perl t/fuzz/callers.pl SECONDS [SEED]
#
# ./build.sh fuzz callers SECONDS [SEED] runs it with the nginx that has
# sanitizers. It goes on in rounds, each with a seed of its own and an nginx of
# its own. What is wrong ends it, and names the seed of the round: with that one
# the same round is the first. CALLERS_PLAY=3,17 plays only these scripts of a
# round (those of a failure are named), CALLERS_SIGNALS=0 sends no signals.
#
# Left out, since nginx does it without the module as well:
#   - a late body of a request for a page that is a file, with includes of SSI:
#     it is discarded, a subrequest inherits that, and the worker dies
#   - HTTP/2: a RST_STREAM after a slice that has failed is not flushed
#   - grpc_pass: an answer before the body has ended closes the connection (the
#     API behind it answers after the body)
#   - HTTP/2: a request without a :method hangs with error_page 400 and
#     auth_request on 1.22
#   - an answer that is lost, since the caller sends more behind a request with
#     "Connection: close" while nginx closes
#   - post_action with a proxy, and a late body: the body's event is lost, and
#     the connection is closed after lingering_timeout

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Time::HiRes qw(sleep time);
use Token::Backend;
use Token::Callers;
use Token::Http2;
use Token::Loop;
use Token::Redis;
use Token::Server;
use Token::Shapes;
use Token::Util qw(slurp wait_for);

my ($seconds, $seed) = @ARGV;

die "usage: callers.pl SECONDS [SEED]\n"
    if ($seconds // '') !~ /^\d+$/ || ($seed // '0') !~ /^\d+$/;

# srand() takes 32 bits
$seed //= int(time * 1000) % 1_000_000_000;

# where the sanitizers write
my $reports = $ENV{CALLERS_REPORTS};
my @only = sort { $a <=> $b } split /,/, $ENV{CALLERS_PLAY} // '';

# What the log may say of a worker that was killed on purpose.
my $KILLED = qr/exited on signal 9$|which is emptied/;

my ($rounds, $requests, $answers, $signals) = (0) x 4;
my $start = time;

$| = 1;

while (!$rounds || time - $start < $seconds) {
    my @wrong = eval { play_round($seed + $rounds) };

    push @wrong, $@ if $@;

    if (@wrong) {
        print "fuzz callers: FAILED, seed @{[ $seed + $rounds ]}, round "
            . ($rounds + 1) . ":\n", map { "  $_\n" } @wrong > 20 ? @wrong[0 .. 19] : @wrong;
        print "./build.sh fuzz callers 1 @{[ $seed + $rounds ]} plays it again.\n";
        exit 1;
    }

    $rounds++;
}

printf "fuzz callers: requests: %d, answers: %d, rounds: %d, signals: %d, seed %d\n",
    $requests, $answers, $rounds, $signals, $seed;


# One nginx, some hundred callers, some signals: what was wrong.
sub play_round {
    my ($round_seed) = @_;

    srand $round_seed;
    Token::Shapes->begin(sprintf 'r%x', $round_seed);

    my $backend = Token::Backend->new;
    my $workers = 1 + int rand 2;
    my $http = http();
    my $linger = pick(1, 3);
    my $listen = pick('sndbuf=64k', 'sndbuf=64k deferred', 'sndbuf=64k reuseport',
        'sndbuf=64k rcvbuf=8k');
    my $store = chance(0.7) ? Token::Redis->new->start : undef;
    my $callers = Token::Callers->new($backend, http => $http, linger => "${linger}s",
        send_timeout => '8s', read_timeout => '10s', store => $store && $store->url);
    my $nginx = Token::Server->new($callers->configuration, workers => $workers,
        listen => $listen);

    # how often it was asked for a port depends on which ones are free
    srand $round_seed + 1;

    # an empty body that is in a file is one that is not sent again
    if ($http =~ /client_body_in_file_only/) {
        $_->{not_again} = 1 for grep { $_->{retries} } $callers->locations;
    }

    my @scripts = map { script($callers, $linger) } 1 .. 300;
    my @signals = signals(scalar @scripts, $store);

    if (@only) {
        my %only = map { $_ => 1 } @only;

        @scripts = map { $only{ $_ + 1 } ? $scripts[$_] : () } 0 .. $#scripts;
    }

    my %number = map { $scripts[$_] => $only[$_] // $_ + 1 } 0 .. $#scripts;
    my @all = map { (Token::Shapes->company($_), $_) } @scripts;

    $callers->prepare($nginx);
    $nginx->start;
    $callers->prime($nginx);

    my $loop = Token::Loop->new(port => $nginx->port, tls_port => $callers->tls_port,
        patience => $reports ? 15 : 5);
    my $state = { nginx => $nginx, loop => $loop, all => \@all, signals => \@signals,
        count => $workers, store => $store };

    my $alive = $loop->run(\@all, width => 60, tick => sub { watch($state) });

    $requests += map { @{ $_->{asked} } } @all;
    $answers += $loop->{answers};
    $rounds || print "fuzz callers: seed $round_seed\n";

    my @wrong = map { ($number{$_} ? "script $number{$_}, " : '')
        . "$_->{name}: $_->{wrong}" . ($ENV{CALLERS_STEPS} ? steps($_) : '') }
        grep { $_->{wrong} } @all;

    # what a worker died of comes before those whom it left
    unshift @wrong, logged($nginx);
    push @wrong, $state->{wrong} if $state->{wrong};
    push @wrong, 'connections are left'
        if $alive && !$state->{uncounted} && !settles($nginx);

    if (!@wrong && !$state->{ended}) {
        my $pid = $nginx->pid;

        kill QUIT => $pid;
        wait_for { !Token::Server::alive($pid) } 15 or push @wrong, 'QUIT does not end it';
        push @wrong, logged($nginx);
    }

    $nginx->stop;
    push @wrong, map { "a report of the sanitizers: $_" } $reports ? glob "$reports/*" : ();
    push @wrong, sprintf 'what is left of it: %s (the longest turn took %.1f s)',
        $nginx->dir, $loop->{lag} if @wrong;
    remove($nginx, $callers) if !@wrong;
    return @wrong;
}


sub pick { return $_[rand @_] }
sub chance { return rand() < $_[0] }


# Directives that change how nginx goes about it, and no answer.
sub http {
    my @lines = grep { chance(0.25) } (
        'postpone_output 0', 'tcp_nopush on', 'tcp_nodelay off', 'sendfile on',
        'client_header_buffer_size 200', 'client_header_buffer_size 8k',
        'client_body_buffer_size 128', 'client_body_buffer_size 64k',
        'client_body_in_file_only clean', 'client_body_in_single_buffer on',
        'request_pool_size 512', 'connection_pool_size 4k', 'output_buffers 1 1k',
        'reset_timedout_connection on', 'proxy_buffering off',
        'proxy_buffer_size 1k', 'gzip on', 'ignore_invalid_headers off',
        'msie_padding off', 'log_subrequest on', 'chunked_transfer_encoding on',
        'token_proxy_lock_timeout 12s', 'token_proxy_auth_method client_secret_post',
        'open_file_cache max=10', 'server_tokens off', 'max_ranges 0',
        'large_client_header_buffers 8 8k', 'proxy_http_version 1.1',
        'keepalive_disable none', 'proxy_next_upstream off');

    # one of a kind
    my %seen;

    return join '', map { "    $_;\n" } grep { /^(\w+)/ && !$seen{$1}++ } @lines;
}


sub script {
    my ($callers, $linger) = @_;

    # a page that is a file, with SSI: see above; and what is closed at once,
    # though not all was read: the client's answers may be lost with it
    my $location = pick(grep { $_->{name} !~ /^(?:ssi_set|linger_off)/ } $callers->locations);

    # send_timeout against the speed of this machine: t/callers.t has it. nginx
    # ends a page whose SSI includes take longer, too, so it is long here.
    my @shapes = grep { $_->{name} ne 'reads nothing' } Token::Shapes->all;
    my $script;

    if (chance(0.15)) {
        my $tls = Token::Http2->has_tls && chance(0.3);

        return Token::Shapes->streams($location, $tls
            ? (tls => 1, port => $callers->tls_port) : (port => $callers->http2_port));
    }

    for (1 .. 50) {
        my $shape = chance(0.5) ? pick(@shapes)
            : { name => 'at random', group => 'random', make => \&random };

        $script = Token::Shapes->script($shape, $location,
            chance(0.2) ? (tls => 1) : ()) and last;
    }

    cut($script, $linger / 5) if $script->{group} ne 'reader';
    leave($script) if chance(0.15);

    # who is killed may have left the endpoint's failure unknown
    if ($location->{name} eq 'backoff') {
        push @$_, map { { %$_, status => 502 } } grep { ($_->{status} // 0) == 503 } @$_
            for @{ $script->{right} };
    }

    return $script;
}


# Some requests, of any method and body, one behind the other or at once.
sub random {
    my ($s) = @_;
    my $late = 0;

    for my $n (1 .. 1 + int rand 6) {
        my %body = chance(0.5) ? () : (
            body => pick(0, 1, 10, 100, 1000, 9000, 70_000),
            chance(0.3) ? (chunked => 1, pieces => 1 + int rand 9,
                extension => pick('', ';a', ';a="b c"'),
                trailer => pick('', "X-A: b\r\n")) : (),
        );
        my $r = $s->request(
            method => pick(qw(GET GET GET POST POST HEAD OPTIONS PUT DELETE FOO)), %body,
            d => pick(1, 10, 40, 80, 150, 300), headers => [
                chance(0.1) ? 'Expect: 100-continue' : (),
                chance(0.1) ? 'Upgrade: websocket' : (),
                chance(0.1) ? 'X-Large: ' . 'x' x rand 3000 : () ],
            chance(0.05) ? (close => 1) : (), chance(0.05) ? (absolute => 1) : ());

        $s->owes($r);

        if (chance(0.4)) {
            $s->send($r->{head});
            $s->pause(pick(0.01, 0.03, 0.1, 0.2));
            $s->send($r->{wire}) if length $r->{wire};
        } else {
            $s->send($r->{head}, $r->{wire});
        }

        $s->await if chance(0.3);
    }

    # what comes behind a close resets the connection, which may cost the answer
    my @asked = @{ $s->{asked} };
    $s->{disturbed} = 1 if grep { $_->{close} } @asked[0 .. $#asked - 1];

    return $s->await;
}


# What is sent at once arrives in pieces, and later: in all so many seconds,
# fewer than nginx lingers.
sub cut {
    my ($script, $left) = @_;
    my @steps;

    for my $step (@{ $script->{steps} }) {
        my ($what, $bytes) = @$step;

        if ($what ne 'send' || length $bytes < 2 || !chance(0.3)) {
            push @steps, $step;
            next;
        }

        for (1 .. 1 + int rand 3) {
            my $pause = pick(0, 0.002, 0.02, 0.05);

            last if length $bytes < 2 || $left < $pause;
            $left -= $pause;
            push @steps, [send => substr $bytes, 0, 1 + int rand(length($bytes) - 1), ''],
                [pause => $pause];
        }

        push @steps, [send => $bytes];
    }

    $script->{steps} = \@steps;
    return;
}


# It goes at any step.
sub leave {
    my ($script) = @_;
    my $steps = $script->{steps};
    my $at = int rand @$steps;

    splice @$steps, $at, @$steps - $at, [pause => pick(0, 0.005, 0.05, 0.1)],
        chance(0.3) ? (['half'], [pause => 0.1]) : (), [pick(qw(leave reset))];
    $script->{leaves} = 1;
    return;
}


# After how many scripts that have ended which signal is sent to whom.
sub signals {
    my ($scripts, $store) = @_;

    return if defined $ENV{CALLERS_SIGNALS} && !$ENV{CALLERS_SIGNALS};
    return if chance(0.3);

    return sort { $a->[0] <=> $b->[0] } map { [int rand $scripts,
        # a worker that is told to quit is not replaced until it has ended
        pick([HUP => 'master'], [HUP => 'master'], [KILL => 'worker'],
            [TERM => 'worker'], [USR1 => 'master'], [QUIT => 'master'],
            $store ? ([KILL => 'store'], [STOP => 'store']) : ())] }
        1 .. 1 + int rand 4;
}


# Sends a signal when it is time; true when nginx has ended.
sub watch {
    my ($state) = @_;
    my $nginx = $state->{nginx};

    if ($state->{thaw} && $state->{thaw} < time) {
        $state->{store}->thaw;
        delete $state->{thaw};
    }

    return leaves($state) if $state->{quit};

    my %now = map { $_ => 1 } $nginx->workers;

    # with sanitizers, it takes a reload and a worker's end some seconds until
    # other workers are there
    $state->{until} = time + 3 if keys %now < $state->{count}
        || grep { $now{$_} } @{ $state->{old} // [] };

    my $ended = grep { $_->{ended} } @{ $state->{all} };
    my $next = $state->{signals}[0];

    $state->{loop}{disturbed} = time < ($state->{until} // 0);
    return 0 if !$next || $next->[0] > $ended || time < ($state->{until} // 0);

    my ($signal, $whom) = @{ (shift @{ $state->{signals} })->[1] };

    return disturb_store($state, $signal) if $whom eq 'store';

    my ($pid) = $whom eq 'master' ? $nginx->pid : keys %now;

    # the connections of a worker that ends at once are not subtracted
    $state->{uncounted} = 1 if $signal =~ /KILL|TERM/;
    $signals++;
    disturb($state);
    kill $signal => $pid if $pid;

    if ($signal eq 'QUIT') {
        $state->{quit} = { pid => $pid, by => time + 15 };
        $state->{loop}{full} = 1;

    } elsif ($signal ne 'USR1') {
        $state->{old} = [$signal eq 'HUP' ? keys %now : $pid // ()];
        $state->{until} = time + 3;
        $state->{loop}{disturbed} = 1;
    }

    return 0;
}


# Callers get what they are owed without a store.
sub disturb_store {
    my ($state, $signal) = @_;

    $signals++;

    if ($signal eq 'KILL') {
        $state->{store}->kill->start;
        delete $state->{thaw};

    } else {
        $state->{store}->freeze;
        $state->{thaw} = time + 1;
    }

    return 0;
}


# After a QUIT: true when nginx has ended.
sub leaves {
    my ($state) = @_;

    if (!Token::Server::alive($state->{quit}{pid})) {
        $state->{ended} = 1;

    } elsif (time > $state->{quit}{by}) {
        $state->{wrong} = 'QUIT does not end it';
    }

    return $state->{ended} || $state->{wrong};
}


# Those who are there when something is done to nginx may go without answers.
sub disturb {
    my ($state) = @_;

    $_->{script}{disturbed} = 1 for values %{ $state->{loop}{playing} };
    return;
}


sub settles {
    my ($nginx) = @_;

    return wait_for {
        my $got = $nginx->get('/stub', Connection => 'close');

        $got->{content} =~ /Active connections: 1 / || $got->{status} == 599;
    } 15;
}


sub logged {
    my ($nginx) = @_;

    return grep { !/$KILLED/ } grep {
        /\[(?:alert|crit|emerg)\]|open socket|exited on signal|exited with code [^0]/
    } split /\n/, $nginx->error_log;
}


sub steps {
    my ($script) = @_;

    return join '', map { "\n      " . join ' ', map { /[^ -~]/ || length > 60
        ? '"' . substr(s/\r/\\r/gr =~ s/\n/\\n/gr, 0, 200) . '"' : $_ } @$_ }
        @{ $script->{steps} };
}


sub remove {
    my ($nginx) = @_;

    system 'rm', '-rf', $nginx->dir;
    return;
}
