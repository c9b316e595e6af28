package Token::Dns;

# A DNS server for nginx's "resolver", a process of its own: A records with
# their TTL, what has none is NXDOMAIN. For all other types of a name that is
# known the answer is empty.
#
#     my $dns = Token::Dns->new;
#     "resolver 127.0.0.1:@{[ $dns->port ]};"
#     $dns->set('id.example' => '127.0.0.2', 1);    # 1 second; a list of
#                                                   # addresses may be given
#     $dns->remove('id.example');
#     $dns->asked('id.example');       # how often its A record was asked for
#     $dns->asked('id.example', 28);   # ... or AAAA
#     $dns->stop; $dns->start;         # on the same port, with the same names

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC inet_aton);
use Token::Util qw(end_child);

my $json = JSON::PP->new->canonical->latin1;

# RFC 1035 3.2.2 and 4.1.1
my ($A, $NXDOMAIN) = (1, 3);


sub new {
    my ($class) = @_;
    my $self = bless { names => {}, owner => $$, port => 0 }, $class;

    return $self->start;
}


sub port { $_[0]{port} }


sub start {
    my ($self) = @_;

    my $socket = IO::Socket::INET->new(Proto => 'udp',
        LocalAddr => '127.0.0.1', LocalPort => $self->{port})
        or die "dns: $!\n";

    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "dns: $!\n";

    my $pid = fork // die "dns: $!\n";

    if ($pid == 0) {
        close $ours;
        eval { serve($socket, $theirs); 1 } or print STDERR "dns: $@";
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush;
    @$self{qw(pid port control)} = ($pid, $socket->sockport, $ours);
    $self->tell;
    return $self;
}


# Nobody listens then, as if the machine were gone.
sub stop { end_child($_[0]) }
sub DESTROY { $_[0]->stop }


sub set {
    my ($self, $name, $addresses, $ttl) = @_;

    $self->{names}{$name} = {
        addresses => ref $addresses ? $addresses : [$addresses],
        ttl => $ttl // 60,
    };
    $self->tell if $self->{pid};
    return;
}


sub remove {
    my ($self, $name) = @_;

    delete $self->{names}{$name};
    $self->tell if $self->{pid};
    return;
}


sub asked {
    my ($self, $name, $type) = @_;

    return $self->tell->{ ($type // $A) . " $name" } // 0;
}


sub tell {
    my ($self) = @_;
    my $control = $self->{control};

    print $control $json->encode($self->{names}), "\n";
    return $json->decode(scalar(<$control>) // die "dns: it has ended\n");
}


# The child's part from here on.

sub serve {
    my ($socket, $control) = @_;
    my $select = IO::Select->new($socket, $control);
    my ($names, %asked) = ({});

    $control->autoflush;

    while (1) {
        for my $ready ($select->can_read) {
            if ($ready == $control) {
                my $line = <$control> // return;

                $names = $json->decode($line);
                print $control $json->encode(\%asked), "\n";
                next;
            }

            defined $socket->recv(my $query, 512) or next;
            length $query > 12 or next;
            $socket->send(answer($query, $names, \%asked));
        }
    }

    return;
}


sub answer {
    my ($query, $names, $asked) = @_;
    my $end = 12;
    my @labels;

    while (my $length = ord substr $query, $end, 1) {
        push @labels, substr $query, $end + 1, $length;
        $end += 1 + $length;
    }

    my $question = substr $query, 12, $end + 5 - 12;
    my $type = unpack 'n', substr $query, $end + 1, 2;
    my $name = lc join '.', @labels;
    my $found = $names->{$name};
    my @addresses = $found && $type == $A ? @{ $found->{addresses} } : ();

    $asked->{"$type $name"}++;

    # an answer, recursion desired and available; the name is at offset 12
    return substr($query, 0, 2)
        . pack('n5', 0x8180 | ($found ? 0 : $NXDOMAIN), 1, scalar(@addresses), 0, 0)
        . $question
        . join('', map { pack('n3Nn', 0xc00c, $A, 1, $found->{ttl}, 4)
            . inet_aton($_) } @addresses);
}

1;
