package Token::Resp;

# RESP2, the protocol of Redis and Valkey, for the tests' own connections.
#
#     my $resp = Token::Resp->connect(unix => $path);    # or port => $port
#     $resp->command('SET', 'key', 'value');    # a string, number, undef, array;
#                                               # dies of an error
#     $resp->reply;                             # one that is due
#
#     bytes_of('GET', 'key');       # a command as it is sent
#     take_command(\$input);        # [words] off the input, once it is whole
#     take_reply(\$input);          # ... the bytes of one reply

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;

our @EXPORT_OK = qw(bytes_of take_command take_reply);


sub connect {
    my ($class, %to) = @_;
    my $socket = $to{unix} ? IO::Socket::UNIX->new(Peer => $to{unix})
        : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to{port},
            Proto => 'tcp', Timeout => 5);

    return undef if !$socket;
    return bless { socket => $socket, input => '' }, $class;
}


sub command {
    my ($self, @words) = @_;

    $self->send(bytes_of(@words));
    return $self->reply;
}


sub send {
    my ($self, $bytes) = @_;

    local $SIG{PIPE} = 'IGNORE';

    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        die "store: $!\n" if !defined $n;
        substr $bytes, 0, $n, '';
    }

    return;
}


# The bytes of the next reply.
sub raw_reply {
    my ($self) = @_;
    my $select = IO::Select->new($self->{socket});

    while (1) {
        my $reply = take_reply(\$self->{input});

        return $reply if defined $reply;

        $select->can_read(10) or die "store: no reply\n";
        sysread $self->{socket}, $self->{input}, 65536, length $self->{input}
            or die "store: closed\n";
    }
}


sub reply {
    my ($self) = @_;
    my $bytes = $self->raw_reply;

    return value(\$bytes);
}


sub value {
    my ($bytes) = @_;

    $$bytes =~ s/^(.)([^\r]*)\r\n//s or die "store: no RESP\n";
    my ($type, $rest) = ($1, $2);

    return $rest if $type eq '+' || $type eq ':';
    die "$rest\n" if $type eq '-';
    return undef if $rest < 0;

    if ($type eq '$') {
        my $value = substr $$bytes, 0, $rest, '';
        substr $$bytes, 0, 2, '';
        return $value;
    }

    # an error within an array does not end it
    return [map { eval { value($bytes) } // (length $@ ? $@ : undef) } 1 .. $rest];
}


sub bytes_of {
    return '*' . @_ . "\r\n" . join '', map { '$' . length() . "\r\n$_\r\n" } @_;
}


sub take_command {
    my ($input) = @_;
    my ($count) = $$input =~ /^\*(\d+)\r\n/ or return undef;
    my $at = $+[0];
    my @words;

    for (1 .. $count) {
        pos($$input) = $at;
        $$input =~ /\G\$(\d+)\r\n/gc or return undef;
        $at = pos $$input;
        return undef if length $$input < $at + $1 + 2;
        push @words, substr $$input, $at, $1;
        $at += $1 + 2;
    }

    substr $$input, 0, $at, '';
    return \@words;
}


sub take_reply {
    my ($input) = @_;
    my $at = reply_end($input, 0);

    return defined $at ? substr($$input, 0, $at, '') : undef;
}


sub reply_end {
    my ($input, $at) = @_;

    pos($$input) = $at;
    $$input =~ /\G([-+:\$*])([^\r]*)\r\n/gc or return undef;
    my ($type, $rest) = ($1, $2);
    $at = pos $$input;

    if ($type eq '$' && $rest >= 0) {
        $at += $rest + 2;
        return length $$input < $at ? undef : $at;
    }

    if ($type eq '*') {
        for (1 .. $rest) {
            $at = reply_end($input, $at) // return undef;
        }
    }

    return $at;
}

1;
