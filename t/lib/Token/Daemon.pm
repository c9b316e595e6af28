package Token::Daemon;

# A server that others wrote: a test starts it, stops it, starts it again.
#
#     my $server = Token::Daemon->new(
#         command => ['node', 'server.mjs', $port],
#         port    => $port,          # where it listens when it has started
#         log     => "$dir/log",     # what it writes
#     )->start;
#     $server->stop;                 # TERM, and waits for its end
#     $server->log;                  # what it has written so far
#     $server->connections;          # ports of those who are connected to it

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Scalar::Util qw(weaken);
use Token::Util qw(slurp slurp_or_empty wait_for);


# Those that a test has left running, stopped before their directories go.
my @daemons;

END { local $?; $_ && $_->stop for @daemons }


sub new {
    my ($class, %options) = @_;
    my $self = bless { %options, owner => $$ }, $class;

    weaken($daemons[@daemons] = $self);
    return $self;
}


sub port { $_[0]{port} }
sub url { "http://127.0.0.1:$_[0]{port}" . ($_[1] // '') }
sub log { slurp($_[0]{log}) }


sub start {
    my ($self) = @_;
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $self->{log};
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec @{ $self->{command} } }
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;

    wait_for { $self->answers || waitpid($pid, POSIX::WNOHANG) } 60;
    return $self if $self->answers;

    die "$self->{command}[0] did not start: " . slurp_or_empty($self->{log})
        . "\n";
}


sub answers {
    my ($self) = @_;

    return !!IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $self->{port}, Proto => 'tcp', Timeout => 5);
}


sub stop {
    my ($self) = @_;
    my $pid = $self->{pid};

    return if !$pid || $self->{owner} != $$;

    kill TERM => $pid;

    if (!wait_for { waitpid $pid, POSIX::WNOHANG } 10) {
        kill KILL => $pid;
        waitpid $pid, 0;
    }

    $self->{pid} = undef;
    return;
}


# By the system's table of connections, IPv4: local and remote address in hex,
# and 01 for one that is established.
sub connections {
    my ($self) = @_;
    my $port = sprintf ':%04X', $self->{port};

    # the kernel may show one twice, while others come and go
    my %ports = map { /^\s*\d+: \w+:(\w{4}) \w+$port 01 / ? (hex $1, 1) : () }
        split /\n/, slurp('/proc/net/tcp');

    return sort keys %ports;
}


sub DESTROY { local ($?, $!); $_[0]->stop }

1;
