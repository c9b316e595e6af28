# One line of bench/fleet.sh: machines that are real, or simulated.
#
#     perl -I t/lib bench/fleet.pl real|simulated MACHINES SECONDS

use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use Errno qw(EAGAIN);
use List::Util qw(max min sum);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Redis;
use Token::Resp qw(bytes_of take_reply);
use Token::Server;
use Token::Util qw($ROOT slurp wait_for);

my ($kind, $machines, $seconds) = @ARGV;

# milliseconds: what the endpoint takes, and a token lives
my $FETCH = 300;
my $LIFETIME = 4000;

# how often a caller comes to a machine
my $GAP = 10;

# of the module: NGX_HTTP_TOKEN_LEASE_TIME, NGX_HTTP_TOKEN_STORE_POLL and
# NGX_HTTP_TOKEN_STORE_MAX_POLL, and how often a lease is extended
my ($LEASE, $POLL, $MAX_POLL, $EXTEND) = (2000, 25, 250, 500);

my $store = Token::Redis->new(config => ['maxclients 4000'])->start;
my ($cold, $renewed) = $kind eq 'real' ? real() : simulated();

printf "| %s%d | %d | %.1f | %s | %.0f | %d | %.1f |\n",
    $kind eq 'real' ? '' : 'simulated: ', $machines, $cold->{calls},
    $cold->{commands} / $machines, $cold->{most} // '', $cold->{served},
    $renewed->{calls},
    $renewed->{commands} / $machines / max(1, $renewed->{calls});


sub scripts_run { return $store->calls('evalsha') + $store->calls('eval') }


sub real {
    my $endpoint = Token::Endpoint->new(delay => $FETCH / 1000,
        expires_in => 3600);
    my @nginx = map { Token::Server->new(
        workers => 2, log_level => 'error',
        http => zone() . 'token_proxy_cache_store ' . $store->url . ';',
        server => location('cold', $endpoint->url)
            . location('renewed', $endpoint->url, 'token_proxy_cache_key renewed'),
    )->start } 1 .. $machines;
    my @clients = map { Token::Client->new($_->port) } @nginx;

    # each worker makes its connection when it starts
    wait_for { $store->clients >= 2 * $machines } 10;

    my $before = scripts_run();
    my $from = time;

    for (1 .. 10) {
        $_->send('/cold') for @clients;
    }

    my @got = map { $_->receive(10) } @clients;

    die "a caller has no token\n" if grep { ($_->{status} // 0) != 200 } @got;
    die "there is more than one token\n"
        if keys %{ { map { token($_) => 1 } @got } } != 1;

    my $cold = { calls => $endpoint->calls, commands => scripts_run() - $before,
        served => 1000 * (max(map { $_->{received} } @got) - $from) };

    $endpoint->reset;
    $endpoint->answer(delay => $FETCH / 1000, expires_in => $LIFETIME / 1000);
    $before = scripts_run();

    my @loads = map { Token::Client->load($_->port, '/renewed', processes => 1,
        seconds => $seconds + 60, gap => $GAP / 1000) } @nginx;

    sleep $seconds;

    for (map { $_->stop } @loads) {
        die "a caller has no token\n" if $_->{failed} || !$_->{requests};
    }

    return ($cold, { calls => $endpoint->calls, commands => scripts_run() - $before });
}


# The texts of the scripts, out of the module's source: C strings, a line each.
sub lua {
    my ($name) = @_;
    my $text = slurp("$ROOT/ngx_http_token_module/cache/ngx_http_token_store_lua.h");
    my ($lines) = $text =~ /^#define NGX_HTTP_TOKEN_LUA_$name\b((?:.*\\\n)+.*\n)/m
        or die "no script $name\n";

    return join '', map { s/\\n/\n/gr =~ s/\\(["\\])/$1/gr } $lines =~ /"((?:[^"\\]|\\.)*)"/g;
}


# Machines are connections of this process. What they do is what a worker does
# with a fetch that is due; a token of theirs is the serial that they have.
sub simulated {
    my %script = map { $_ => lua($_) } qw(TAKE PUT);
    my %digest = map { $_ => sha1_hex($script{$_}) } keys %script;
    my (@machines, %by_fd, %due, $cold);
    my $reads = '';
    my ($calls, $commands) = (0, 0);

    for (values %script) {
        $store->command('SCRIPT', 'LOAD', $_);
    }

    for my $n (1 .. $machines) {
        my $resp = Token::Resp->connect(port => $store->port) // die "store: $!\n";
        my $one = { socket => $resp->{socket}, id => sprintf('%032x', $n),
            have => '', in => '', out => [], commands => 0 };

        $one->{socket}->blocking(0);
        push @machines, $by_fd{ fileno $one->{socket} } = $one;
        vec($reads, fileno $one->{socket}, 1) = 1;
    }

    my $phase = 'cold';

    # at a time, in ticks of a millisecond
    my $later = sub {
        my ($ms, $one, $what) = @_;
        push @{ $due{ int(1000 * time + $ms) } }, [$one, $what];
    };

    my $run = sub {
        my ($one, $name, @args) = @_;

        push @{ $one->{out} }, $name;
        $one->{commands}++;
        $commands++;
        syswrite $one->{socket}, bytes_of('EVALSHA', $digest{$name}, 3,
            (map { "bench:{$phase}:$_" } qw(t l f)), @args) or die "store: $!\n";
    };

    my $take = sub {
        my ($one) = @_;
        $one->{sent} = time;
        $run->($one, 'TAKE', $one->{id}, $LEASE, $one->{have});
    };

    my $token = sub {
        my ($one, $serial, $left) = @_;

        @$one{qw(have delay served)} = ($serial, undef, time);

        # due at half of what is left, when the next caller comes
        my $due = $left / 2 - 1000 * (time - $one->{sent});
        $later->(max($due, 0) + rand $GAP, $one, 'take') if $phase eq 'renewed';
    };

    my $reply = sub {
        my ($one, $value) = @_;
        my $what = shift @{ $one->{out} };
        my ($word, @more) = ref $value ? @$value : ();

        return if $what ne 'TAKE';

        if ($word eq 'token') {
            $token->($one, $more[0], $more[2]);

        } elsif ($word eq 'wait') {
            $one->{delay} = $one->{delay} ? min($one->{delay} * 1.6, $MAX_POLL) : $POLL;
            my $delay = $one->{delay} + rand $one->{delay} / 4;
            $later->(min($delay, $more[0] + 1), $one, 'take');

        } elsif ($word eq 'fetch') {

            # a lease that was extended
            return if $one->{fetches};

            $calls++;
            @$one{qw(fetches serial now)} = (1, @more);
            $later->($FETCH, $one, 'put');
            $later->($EXTEND, $one, 'extend');
        }
    };

    my $what = {
        take => $take,
        extend => sub {
            my ($one) = @_;
            return if !$one->{fetches};
            $run->($one, 'TAKE', $one->{id}, $LEASE, $one->{have});
            $later->($EXTEND, $one, 'extend');
        },
        put => sub {
            my ($one) = @_;
            my $lifetime = $phase eq 'cold' ? 3_600_000 : $LIFETIME;
            my $blob = 'x' x 1250;

            $one->{fetches} = 0;
            $run->($one, 'PUT', $one->{id}, $one->{serial}, $blob, $one->{now} + $lifetime);
            $token->($one, $one->{serial}, $lifetime);
        },
    };

    my $play = sub {
        my ($over) = @_;

        until ($over->()) {
            my ($first) = sort { $a <=> $b } keys %due;
            my $wait = defined $first ? max(0, $first / 1000 - time) : 0.01;

            if (select(my $ready = $reads, undef, undef, min($wait, 0.05)) > 0) {
                my $bits = unpack 'b*', $ready;
                my $fd = -1;

                while (($fd = index $bits, '1', $fd + 1) >= 0) {
                    my $one = $by_fd{$fd};

                    sysread $one->{socket}, $one->{in}, 65536, length $one->{in}
                        or $! == EAGAIN or die "store: closed\n";

                    while (defined(my $bytes = take_reply(\$one->{in}))) {
                        $reply->($one, Token::Resp::value(\$bytes));
                    }
                }
            }

            my $now = int(1000 * time);

            for my $tick (sort { $a <=> $b } grep { $_ <= $now } keys %due) {
                $what->{ $_->[1] }->($_->[0]) for @{ delete $due{$tick} };
            }
        }
    };

    my $from = time;

    $take->($_) for @machines;
    $play->(sub { !grep { !$_->{served} } @machines });

    # the reply to the last put is of no interest
    $cold = { calls => $calls, commands => $commands,
        most => max(map { $_->{commands} } @machines),
        served => 1000 * (max(map { $_->{served} } @machines) - $from) };

    ($phase, $calls, $commands) = ('renewed', 0, 0);
    %due = ();
    $_->{have} = '' for @machines;
    $later->(rand $GAP, $_, 'take') for @machines;

    my $end = time + $seconds;

    $play->(sub { time > $end });

    return ($cold, { calls => $calls, commands => $commands });
}
