package Token::Cutter;

# A proxy of TCP that cuts its connections: after a number of bytes, in one
# direction or the other, that is drawn for each. A process of its own.
#
#     my $cutter = Token::Cutter->new($store->port, upto => 3000);
#     $cutter->port;
#     $cutter->seed;      # what was drawn from; TOKEN_SEED plays it again
#     $cutter->cuts;      # how many connections it has cut
#     $cutter->mend;      # from now on it cuts none

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC SOL_SOCKET SO_LINGER);
use Token::Util qw(end_child);


sub new {
    my ($class, $port, %options) = @_;
    my $seed = $ENV{TOKEN_SEED} // int rand 2 ** 31;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
        Listen => 64) // die "cutter: $!\n";

    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "cutter: $!\n";

    my $pid = fork // die "cutter: $!\n";

    if ($pid == 0) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        srand $seed;
        eval { serve($listen, $theirs, $port, $options{upto} // 2000); 1 }
            or print STDERR "cutter: $@";
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush;

    return bless { pid => $pid, owner => $$, seed => $seed, control => $ours,
        port => $listen->sockport }, $class;
}


sub port { $_[0]{port} }
sub seed { $_[0]{seed} }
sub cuts { return $_[0]->tell('cuts') }
sub mend { return $_[0]->tell('mend') }
sub DESTROY { end_child($_[0]) }


sub tell {
    my ($self, $what) = @_;
    my $control = $self->{control};

    print $control "$what\n";
    return 0 + (scalar(<$control>) // die "cutter: it has ended\n");
}


# The child's part from here on.

sub serve {
    my ($listen, $control, $port, $upto) = @_;
    my $select = IO::Select->new($listen, $control);
    my ($cuts, $mended) = (0, 0);
    my %pair;

    while (1) {
        for my $socket ($select->can_read) {
            if ($socket == $control) {
                $mended ||= (<$control> // return) eq "mend\n";
                syswrite $control, "$cuts\n";
                next;
            }

            if ($socket == $listen) {
                my $client = $listen->accept or next;
                my $store = IO::Socket::INET->new(Proto => 'tcp',
                    PeerAddr => '127.0.0.1', PeerPort => $port);
                my $one = { client => $client, store => $store,
                    left => { map { $_ => 1 + int rand $upto } qw(client store) } };

                next if !$store;
                $pair{ fileno $_ } = $one for $client, $store;
                $select->add($client, $store);
                next;
            }

            my $one = $pair{ fileno $socket // -1 } or next;
            my $from = $socket == $one->{client} ? 'client' : 'store';
            my $to = $from eq 'client' ? 'store' : 'client';
            my $n = sysread $socket, my $bytes, 65536;
            my $cut = !$n;

            if ($n) {
                if (!$mended && ($one->{left}{$from} -= $n) <= 0) {
                    $bytes = substr $bytes, 0, $n + $one->{left}{$from};
                    $cuts++;
                    $cut = 1;
                }

                syswrite $one->{$to}, $bytes;
            }

            next if !$cut;

            # one in two with a reset
            setsockopt $one->{client}, SOL_SOCKET, SO_LINGER, pack 'll', 1, 0
                if $n && rand() < 0.5;

            for my $end (@$one{qw(client store)}) {
                $select->remove($end);
                delete $pair{ fileno $end };
                close $end;
            }
        }
    }
}

1;
