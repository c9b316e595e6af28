package Token::OddStore;

# Between nginx and a store: it passes on commands and replies, until it is told
# to reply with something else. A process of its own.
#
#     my $odd = Token::OddStore->new($store);
#     $odd->port;
#     $odd->kinds;                      # names of what it can reply with
#     $odd->be('nested without end');   # from now on, to each script
#     $odd->be('HTTP', 'all');          # ... to each command
#     $odd->be('HTTP', 'first');        # ... before any command
#     $odd->be;                         # as the store itself
#     $odd->seen;                       # { connections, commands, scripts, odd }

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(time);
use Token::Resp qw(take_command bytes_of);
use Token::Util qw(end_child);

# as take of the module's scripts has them
my ($SERIAL, $NOW) = ('1700000000000000', ':1700000000000');

sub bulk { return '$' . length($_[0]) . "\r\n$_[0]\r\n" }
sub array { return '*' . @_ . "\r\n" . join '', @_ }
sub words { return array(map { /^:-?\d+$/ ? "$_\r\n" : bulk($_) } @_) }

# What is sent in the place of a reply. Behind it the connection stays open,
# but for those whose name says that it closes.
my %REPLY = (
    # what a server says that works
    'WRONGPASS'    => "-WRONGPASS invalid username-password pair\r\n",
    'NOAUTH'       => "-NOAUTH Authentication required.\r\n",
    'NOPERM'       => "-NOPERM this user has no permissions\r\n",
    'MOVED'        => "-MOVED 3999 127.0.0.1:1\r\n",
    'ASK'          => "-ASK 3999 127.0.0.1:1\r\n",
    'READONLY'     => "-READONLY You can't write against a read only replica.\r\n",
    'LOADING'      => "-LOADING Redis is loading the dataset in memory\r\n",
    'OOM'          => "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    'NOSCRIPT'     => "-NOSCRIPT No matching script. Please use EVAL.\r\n",
    'BUSY'         => "-BUSY Redis is busy running a script.\r\n",
    'MASTERDOWN'   => "-MASTERDOWN Link with MASTER is down\r\n",
    'CLUSTERDOWN'  => "-CLUSTERDOWN The cluster is down\r\n",
    'MISCONF'      => "-MISCONF Redis is configured to save RDB snapshots\r\n",
    'too many clients' => "-ERR max number of clients reached\r\n",
    'an error without a word' => "-\r\n",
    'an error of 100 KB' => '-ERR ' . 'x' x 100_000 . "\r\n",
    'an error with control characters' => "-ERR \x1b[2J\x00\x07 \xff\r\n",

    # RESP, of another type or another form
    'a simple string'     => "+OK\r\n",
    'an integer'          => ":1\r\n",
    'no string'           => "\$-1\r\n",
    'an empty string'     => "\$0\r\n\r\n",
    'no array'            => "*-1\r\n",
    'an empty array'      => "*0\r\n",
    'an array of integers' => ("*4\r\n" . ":1\r\n" x 4),
    'an array of arrays'  => array(("*1\r\n:1\r\n") x 4),
    'an array of nothing' => array(("\$-1\r\n") x 4),
    'an array of errors'  => array(("-ERR no\r\n") x 4),
    'a word that nobody knows' => words('hello', ':1', ':2', ':3'),
    'token and no more'   => words('token'),
    'token of nothing'    => array(bulk('token'), ("\$-1\r\n") x 3),
    'token, blob empty'   => words('token', $SERIAL, '', ':5000', $NOW),
    'token, blob of noise' => words('token', $SERIAL, "\x01" . 'noise' x 50, ':5000', $NOW),
    'token, blob of 1 MB' => words('token', $SERIAL, "\x01" . 'x' x 1_000_000, ':5000', $NOW),
    'token, blob in the clear' => words('token', $SERIAL,
        '{"access_token":"STOLEN","expires_in":3600}', ':3600000', $NOW),
    'token, serial of 64 KB' => words('token', 'x' x 65536, 'blob', ':5000', $NOW),
    'token, now of 40 digits' => words('token', $SERIAL, 'blob', ':5000', ':' . '9' x 40),
    'token, PTTL below 0' => words('token', $SERIAL, 'blob', ':-1', $NOW),
    'token, PTTL as a string' => words('token', $SERIAL, 'blob', 'soon', $NOW),
    'token, PTTL of 19 digits' => words('token', $SERIAL, 'blob', ':9223372036854775807', $NOW),
    'token, PTTL of 40 digits' => words('token', $SERIAL, 'blob', ':' . '9' x 40, $NOW),
    'wait and no more'    => words('wait'),
    'wait, below 0'       => words('wait', ':-2'),
    'wait for ever'       => words('wait', ':9223372036854775807'),
    'wait for a word'     => words('wait', 'later'),
    'fail and no more'    => words('fail'),
    'fail for ever'       => words('fail', ':9223372036854775807', 'refused', $NOW),
    'fail below 0'        => words('fail', ':-5', 'refused', $NOW),
    'fail with noise'     => words('fail', ':1000', "\x00\xff\r\n" x 100, $NOW),
    'fetch and no more'   => words('fetch'),
    'fetch, no serial'    => words('fetch', '', ':0'),
    'fetch, serial of 64 KB' => words('fetch', 'x' x 65536, ':1'),
    'fetch, now of 40 digits' => words('fetch', $SERIAL, ':' . '9' x 40),
    'fetch and much more' => words('fetch', $SERIAL, ':1700000000000', 1 .. 500),

    # no RESP, or too much of it
    'a string of 9 TB'    => "\$9999999999999\r\nabc",
    'a string of 2^63'    => "\$9223372036854775808\r\nabc",
    'a string of 40 digits' => '$' . '9' x 40 . "\r\nabc",
    'a string of -2'      => "\$-2\r\n",
    'a string of +5'      => "\$+5\r\nhello\r\n",
    'a string of no number' => "\$five\r\nhello\r\n",
    'a string longer than it says' => "\$3\r\nhello\r\n",
    'an array of 1000000000' => "*1000000000\r\n:1\r\n",
    'an array of 2^63'    => "*9223372036854775808\r\n",
    'an array of -5'      => "*-5\r\n",
    'an array without end' => "*1000000\r\n" . ":1\r\n" x 300_000,
    'nested without end'  => "*1\r\n" x 200_000,
    'nested 8 deep'       => "*1\r\n" x 8 . ":1\r\n",
    'a line without end'  => '+' . 'x' x 1_000_000,
    'an integer of 40 digits' => ':' . '9' x 40 . "\r\n",
    'an integer of no number' => ":abc\r\n",
    'an integer of nothing' => ":\r\n",
    'lines without CR'    => "*2\n\$4\nwait\n:5\n",
    'an empty line'       => "\r\n",
    'zeros'               => "\0" x 4096,
    'noise'               => join('', map { chr(($_ * 167 + 13) % 256) } 1 .. 5000),
    'HTTP'                => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    'an alert of TLS'     => "\x15\x03\x01\x00\x02\x02\x46",
    'a map of RESP3'      => "%1\r\n+a\r\n:1\r\n",
    'a push of RESP3'     => ">2\r\n+message\r\n+x\r\n",
    'nothing of RESP3'    => "_\r\n",
    'a reply twice'       => words('wait', ':100') x 2,
    'a thousand replies'  => "+OK\r\n" x 1000,
    'the other replies first' => "+OK\r\n:0\r\n" . words('wait', ':100'),
    'half of a reply'     => "*4\r\n\$5\r\ntok",
    'half of a reply, then closes' => "*4\r\n\$5\r\ntok",
    'nothing'             => '',
    'closes'              => '',
);


sub kinds { my @kinds = sort keys %REPLY; return @kinds }


sub new {
    my ($class, $store) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
        Listen => 64) // die "odd store: $!\n";

    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "odd store: $!\n";

    my $pid = fork // die "odd store: $!\n";

    if ($pid == 0) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        eval { serve($listen, $theirs, $store->port); 1 }
            or print STDERR "odd store: $@";
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush;

    return bless { pid => $pid, owner => $$, port => $listen->sockport,
        control => $ours }, $class;
}


sub port { $_[0]{port} }
sub url { "redis://127.0.0.1:$_[0]{port}" }
sub seen { return $_[0]->tell({}) }
sub DESTROY { end_child($_[0]) }


sub be {
    my ($self, $kind, $when) = @_;

    $self->tell({ kind => $kind, when => $when // 'script' });
    return;
}


sub tell {
    my ($self, $command) = @_;
    my $control = $self->{control};

    die "\"$command->{kind}\" is no kind\n"
        if defined $command->{kind} && !exists $REPLY{ $command->{kind} };

    print $control encode_json($command), "\n";
    return decode_json(scalar(<$control>) // die "odd store: it has ended\n");
}


# The child's part from here on.

sub serve {
    my ($listen, $control, $port) = @_;
    my $select = IO::Select->new($listen, $control);
    my %seen = map { $_ => 0 } qw(connections commands scripts odd);
    my ($kind, $when) = (undef, 'script');
    my (%from, %out);

    my $drop = sub {
        my ($one) = @_;

        for my $socket (grep { $_ } @$one{qw(socket store)}) {
            $select->remove($socket);
            delete $from{ fileno $socket };
            close $socket;
        }

        delete $out{$one};
    };

    while (1) {
        my $writes = IO::Select->new(map { $_->{socket} }
            grep { length $_->{out} } values %out);
        my ($readable, $writable) = IO::Select->select($select, $writes, undef, 1);

        for my $socket (@{ $readable // [] }) {
            if ($socket == $control) {
                my $line = <$control> // return;
                my $told = decode_json($line);

                ($kind, $when) = @$told{qw(kind when)} if exists $told->{kind};
                syswrite $control, encode_json(\%seen) . "\n";
                next;
            }

            if ($socket == $listen) {
                my $client = $listen->accept or next;
                my $one = { socket => $client, in => '', out => '' };

                $client->blocking(0);
                $seen{connections}++;
                $out{$one} = $from{ fileno $client } = $one;
                $select->add($client);
                odd($one, $kind, \%seen)
                    if defined $kind && $when eq 'first';
                next;
            }

            my $one = $from{ fileno $socket } or next;

            # what the store says goes on as it is
            if ($one->{store} && $socket == $one->{store}) {
                if (sysread $socket, my $bytes, 65536) { $one->{out} .= $bytes }
                else { $drop->($one) }
                next;
            }

            if (!sysread $socket, $one->{in}, 65536, length $one->{in}) {
                $drop->($one);
                next;
            }

            while (my $command = take_command(\$one->{in})) {
                my $script = $command->[0] =~ /^eval/i;

                $seen{commands}++;
                $seen{scripts}++ if $script;

                if (defined $kind && ($when eq 'all' || $script)) {
                    odd($one, $kind, \%seen);
                    next;
                }

                if (!$one->{store}) {
                    $one->{store} = IO::Socket::INET->new(Proto => 'tcp',
                        PeerAddr => '127.0.0.1', PeerPort => $port)
                        or return;
                    $from{ fileno $one->{store} } = $one;
                    $select->add($one->{store});
                }

                syswrite $one->{store}, bytes_of(@$command);
            }
        }

        # what could not be sent at once, and those that are to be closed
        for my $one (values %out) {
            my $n = length $one->{out}
                ? syswrite $one->{socket}, $one->{out}, 65536 : 0;

            if (!defined $n) {
                $drop->($one) if !$!{EAGAIN};
                next;
            }

            substr $one->{out}, 0, $n, '';
            $drop->($one) if $one->{closes} && !length $one->{out};
        }
    }
}


sub odd {
    my ($one, $kind, $seen) = @_;

    $seen->{odd}++;
    $one->{out} .= $REPLY{$kind};
    $one->{closes} = 1 if $kind =~ /closes/;
    return;
}

1;
