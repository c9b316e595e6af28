package Token::Http2;

# A client that speaks HTTP/2 (RFC 9113) frame by frame, so that a test can do
# what no library does. Nothing in it blocks: what is asked for goes into a
# buffer, and step() writes and reads as much as the socket takes and has, so
# that one process can have many connections in flight.
#
#     my $client = Token::Http2->connect(port => $port,
#         tls      => 1,         # with ALPN; Token::Http2->has_tls
#         window   => 0,         # SETTINGS_INITIAL_WINDOW_SIZE (65535)
#         settings => [3 => 1],  # other settings: identifier => value
#         manual   => 1,         # the caller sends every WINDOW_UPDATE
#         slice    => 1);        # bytes in a write, at most
#
#     my $id = $client->request('/token?a=b',
#         method => 'POST', headers => [name => value], scheme => 'https',
#         fields => [...],       # in place of all headers that would be sent
#         body   => 'a=b',       # with END_STREAM; without "body" and "open"
#                                # the headers have it
#         open   => 1,           # no END_STREAM yet
#         cut    => 5,           # bytes of the header block in a frame: the
#                                # others are CONTINUATION
#         padding => 10, priority => [exclusive, stream, weight]);
#
#     $client->data($id, $bytes, end => 1, padding => 10,
#         force => 1);           # whatever the server's windows are
#     $client->trailers($id, [name => value]);
#     $client->reset($id, $code);           # 8 is CANCEL, the default
#     $client->window($id, $bytes);         # 0 is the connection
#     $client->priority($id, $exclusive, $on, $weight);
#     $client->ping($eight_bytes); $client->goaway($code);
#     $client->settings([4 => 65535]);
#     $client->frame($type, $flags, $id, $payload);    # any other
#
#     $client->socket; $client->wants_write;      # for select and poll
#     $client->step;               # false when the connection has ended
#     Token::Http2::run($seconds, sub { $done }, @clients);   # a loop of its own
#
#     my $stream = $client->stream($id);
#     # {status, headers => {name => value}, body, ended, reset => code}
#     $client->open_streams;       # those that the server may yet write to
#     $client->{pongs}; $client->{went};    # PINGs answered, code of its GOAWAY
#     $client->{fault};            # what the server did that it must not do
#     $client->{over};             # why the connection ended: fin, or an error
#
#     $client->shutdown;           # FIN when all is written; reads on
#     $client->close; $client->abort;       # FIN, RST

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Poll qw(POLLIN POLLOUT);
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_NODELAY);
use Time::HiRes qw(time);
use Token::Hpack;

use constant {
    DATA => 0, HEADERS => 1, PRIORITY => 2, RST_STREAM => 3, SETTINGS => 4,
    PUSH_PROMISE => 5, PING => 6, GOAWAY => 7, WINDOW_UPDATE => 8,
    CONTINUATION => 9,
    END_STREAM => 1, ACK => 1, END_HEADERS => 4, PADDED => 8,
    HAS_PRIORITY => 32,
};

my $MAX_FRAME = 16384;
my $context;        # of TLS: to make one takes longer than a handshake
my $has_tls = eval { require IO::Socket::SSL; IO::Socket::SSL->can_alpn };

my @READERS = (\&read_data, \&read_headers, sub { }, \&read_reset,
    \&read_settings, sub { $_[0]->fault('PUSH_PROMISE') }, \&read_ping,
    \&read_goaway, \&read_window, \&read_continuation);


sub has_tls { $has_tls }


sub connect {
    my ($class, %options) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $options{port}, Proto => 'tcp', Timeout => 5)
        // die "cannot connect: $!\n";

    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $socket->blocking(0);

    if ($options{tls}) {
        $context //= IO::Socket::SSL::SSL_Context->new(SSL_verify_mode => 0,
            SSL_alpn_protocols => ['h2']);
        IO::Socket::SSL->start_SSL($socket, SSL_startHandshake => 0,
            SSL_reuse_ctx => $context)
            // die "TLS: $IO::Socket::SSL::SSL_ERROR\n";
    }

    my $self = bless {
        socket => $socket, tls => $options{tls}, shaking => $options{tls},
        slice => $options{slice} // 65536, manual => $options{manual},
        in => '', bytes => 0, out => '', next => 1, streams => {}, pongs => 0,
        hpack => Token::Hpack->new,
        initial => $options{window} // 65535,      # of streams, to us
        left => 65535,                             # of the connection, to us
        peer_initial => 65535, peer_left => 65535, # the same, to the server
    }, $class;

    $self->{out} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    $self->settings([2 => 0, @{ $options{settings} // [] },
        defined $options{window} ? (4 => $options{window}) : ()]);
    return $self;
}


sub socket { $_[0]{socket} }
sub stream { $_[0]{streams}{$_[1]} }

sub wants_write {
    my ($self) = @_;

    return $self->{shaking} ? $self->{shaking} eq 'write'
        : length $self->{out} || $self->{shut} && $self->{shut} == 1;
}

sub open_streams {
    return grep { !$_->{ended} && !defined $_->{reset} && !$_->{left_by_us} }
        values %{ $_[0]{streams} };
}


# What a client sends.

sub request {
    my ($self, $path, %options) = @_;
    my $id = $self->{next};
    my $block = Token::Hpack::encode($options{fields} // [
        ':method' => $options{method} // 'GET',
        ':scheme' => $options{scheme} // ($self->{tls} ? 'https' : 'http'),
        ':authority' => 'localhost', ':path' => $path,
        @{ $options{headers} // [] },
    ]);

    $self->{next} += 2;
    $self->{streams}{$id} = {
        id => $id, head => ($options{method} // '') eq 'HEAD', body => '',
        left => $self->{initial}, peer_left => $self->{peer_initial},
        queue => [],
    };

    $self->block($id, $block, !$options{open} && !defined $options{body},
        %options);
    $self->data($id, $options{body}, end => 1) if defined $options{body};
    return $id;
}


# A block of headers: HEADERS, and CONTINUATION for what does not fit.
sub block {
    my ($self, $id, $block, $end, %options) = @_;
    my $size = $options{cut} // $MAX_FRAME - 300;
    my $flags = $end ? END_STREAM : 0;
    my $payload = substr $block, 0, $size, '';

    if (my $priority = $options{priority}) {
        $flags |= HAS_PRIORITY;
        $payload = priority_bytes(@$priority) . $payload;
    }

    if ($options{padding}) {
        $flags |= PADDED;
        $payload = padded($payload, $options{padding});
    }

    $self->frame(HEADERS, $flags | (length $block ? 0 : END_HEADERS), $id,
        $payload);

    while (length $block) {
        $payload = substr $block, 0, $size, '';
        $self->frame(CONTINUATION, length $block ? 0 : END_HEADERS, $id,
            $payload);
    }

    return;
}


sub data {
    my ($self, $id, $bytes, %options) = @_;
    my $stream = $self->{streams}{$id};

    push @{ $stream->{queue} }, { bytes => $bytes, %options };
    $self->pump($stream);
    return;
}


sub trailers {
    my ($self, $id, $headers) = @_;
    my $stream = $self->{streams}{$id};

    push @{ $stream->{queue} }, { block => Token::Hpack::encode($headers) };
    $self->pump($stream);
    return;
}


# What the server's windows let through of that which waits in a stream.
sub pump {
    my ($self, $stream) = @_;
    my $queue = $stream->{queue};

    while (my $item = $queue->[0]) {
        if (defined $item->{block}) {
            $self->block($stream->{id}, $item->{block}, 1);
            shift @$queue;
            next;
        }

        my $extra = $item->{padding} ? $item->{padding} + 1 : 0;
        my $room = $item->{force} ? $MAX_FRAME : least($MAX_FRAME,
            $self->{peer_left}, $stream->{peer_left});
        my $size = least(length $item->{bytes}, $room - $extra);

        return if $size < 0 || $size == 0 && length $item->{bytes};

        my $payload = substr $item->{bytes}, 0, $size, '';
        my $last = !length $item->{bytes};

        $payload = padded($payload, $item->{padding}) if $extra;
        $self->{peer_left} -= length $payload;
        $stream->{peer_left} -= length $payload;
        $self->frame(DATA, ($last && $item->{end} ? END_STREAM : 0)
            | ($extra ? PADDED : 0), $stream->{id}, $payload);
        shift @$queue if $last;
    }

    return;
}


sub reset {
    my ($self, $id, $code) = @_;
    my $stream = $self->{streams}{$id};

    $stream->{left_by_us} = 1;
    $stream->{queue} = [];
    $self->frame(RST_STREAM, 0, $id, pack 'N', $code // 8);
    return;
}


sub window {
    my ($self, $id, $bytes) = @_;

    ($id ? $self->{streams}{$id} : $self)->{left} += $bytes;
    $self->frame(WINDOW_UPDATE, 0, $id, pack 'N', $bytes);
    return;
}


# A new SETTINGS_INITIAL_WINDOW_SIZE is for the streams that are open as well.
sub settings {
    my ($self, $settings) = @_;
    my %new = @$settings;

    if (defined $new{4}) {
        $_->{left} += $new{4} - $self->{initial}
            for values %{ $self->{streams} };
        $self->{initial} = $new{4};
    }

    $self->frame(SETTINGS, 0, 0, pack '(nN)*', @$settings);
    return;
}


sub priority {
    my ($self, $id, @priority) = @_;

    $self->frame(PRIORITY, 0, $id, priority_bytes(@priority));
    return;
}


sub ping { $_[0]->frame(PING, 0, 0, $_[1] // 'nothing.'); return }

sub goaway {
    $_[0]->frame(GOAWAY, 0, 0, pack 'NN', 0, $_[1] // 0);
    return;
}


sub frame {
    my ($self, $type, $flags, $id, $payload) = @_;

    $self->{out} .= substr(pack('N', length $payload), 1)
        . pack('CCN', $type, $flags, $id) . $payload;
    return;
}


sub priority_bytes {
    my ($exclusive, $on, $weight) = @_;

    return pack 'NC', ($exclusive ? 0x80000000 : 0) | $on, $weight;
}


sub padded { return chr($_[1]) . $_[0] . "\0" x $_[1] }

sub least {
    my ($least, @more) = @_;

    $least = $_ < $least ? $_ : $least for @more;
    return $least;
}


# The connection.

sub shutdown { $_[0]{shut} //= 1; return }

sub close { $_[0]->over('closed by us'); return }

sub abort {
    my ($self) = @_;

    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0
        if !$self->{over};
    $self->over('closed by us');
    return;
}


sub over {
    my ($self, $why) = @_;

    return 0 if $self->{over};
    $self->{over} = $why;

    # No close_notify: whoever wants a TCP RST would send a FIN before it. After
    # a handshake that failed, it is no TLS socket any more.
    $self->{socket}->isa('IO::Socket::SSL') ? $self->{socket}->close(SSL_no_shutdown => 1)
        : CORE::close($self->{socket});
    return 0;
}


sub step {
    my ($self) = @_;
    local $SIG{PIPE} = 'IGNORE';

    return 0 if $self->{over};
    return $self->{over} ? 0 : 1 if $self->{shaking} && !$self->shake;

    $self->write_some or return 0;
    $self->read_some or return 0;

    # What was read may have an answer.
    return $self->{slice} < 65536 || $self->write_some;
}


sub shake {
    my ($self) = @_;

    if ($self->{socket}->connect_SSL) {
        $self->{shaking} = undef;
        $self->fault('no h2 by ALPN')
            if ($self->{socket}->alpn_selected // '') ne 'h2';
        return 1;
    }

    if ($!{EAGAIN} || $!{EWOULDBLOCK}) {
        $self->{shaking} = $IO::Socket::SSL::SSL_ERROR
            == IO::Socket::SSL::SSL_WANT_WRITE() ? 'write' : 'read';
        return 0;
    }

    return $self->over("TLS: $IO::Socket::SSL::SSL_ERROR");
}


sub write_some {
    my ($self) = @_;

    while (length $self->{out}) {
        my $size = least($self->{slice}, length $self->{out});
        my $n = syswrite $self->{socket}, $self->{out}, $size;

        if (!$n) {
            return 1 if would_block();

            # What the server wrote before it closed is still to be read.
            $self->{out} = '';
            $self->{broken} = "$!";
            last;
        }

        substr $self->{out}, 0, $n, '';
        last if $self->{slice} < 65536;
    }

    if (!length $self->{out} && $self->{shut} && $self->{shut} == 1) {
        $self->{shut} = 2;
        CORE::shutdown($self->{socket}, 1);
    }

    return 1;
}


sub read_some {
    my ($self) = @_;

    while (1) {
        my $n = sysread $self->{socket}, $self->{in}, 65536, length $self->{in};

        if (!$n) {
            return 1 if !defined $n && would_block();
            return $self->over(defined $n ? 'fin' : "$!");
        }

        $self->{bytes} += $n;
        $self->frames;
        return 0 if $self->{over};
    }
}


sub would_block { return $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR} }


# Until the condition holds, all have ended, or the time is over.
sub run {
    my ($seconds, $done, @clients) = @_;
    my $end = time + $seconds;

    while (1) {
        my $poll = IO::Poll->new;
        my $open = 0;

        for my $client (@clients) {
            next if !$client->step;
            $open++;
            $poll->mask($client->socket
                => POLLIN | ($client->wants_write ? POLLOUT : 0));
        }

        return 1 if $done && $done->();
        return !$done if !$open;

        my $left = $end - time;

        return 0 if $left <= 0;
        $poll->poll(least($left, 0.1));
    }
}


# What the server sends.

sub fault {
    my ($self, $text) = @_;

    $self->{fault} //= $text;
    return;
}


sub frames {
    my ($self) = @_;

    while (length $self->{in} >= 9) {
        my ($high, $low, $type, $flags, $id) = unpack 'CnCCN', $self->{in};
        my $length = $high << 16 | $low;

        if ($length > $MAX_FRAME) {
            $self->fault("a frame of $length bytes");
            return;
        }

        return if length $self->{in} < 9 + $length;

        my $payload = substr substr($self->{in}, 0, 9 + $length, ''), 9;

        $self->fault("a frame of type $type in a block of headers")
            if $self->{block} && $type != CONTINUATION;

        my $reader = $READERS[$type] // sub { };
        $reader->($self, $flags, $id & 0x7fffffff, $payload);
    }

    return;
}


# The stream that a frame is for; none if it was reset by us.
sub known {
    my ($self, $id, $what) = @_;
    my $stream = $self->{streams}{$id};

    if (!$stream) {
        $self->fault("$what for stream $id, which was never opened");
        return undef;
    }

    $self->fault("$what for stream $id, which has ended")
        if $stream->{ended} || defined $stream->{reset};
    return $stream->{left_by_us} ? undef : $stream;
}


sub read_data {
    my ($self, $flags, $id, $payload) = @_;
    my $stream = $self->known($id, 'DATA');
    my $size = length $payload;

    $self->{left} -= $size;
    $self->fault('DATA beyond the window of the connection')
        if $self->{left} < 0;
    $self->window(0, $size) if $size && !$self->{manual};

    return if !$stream;

    $stream->{left} -= $size;
    $self->fault("DATA beyond the window of stream $id") if $size
        && $stream->{left} < 0;
    $self->fault("DATA before headers in stream $id") if !$stream->{status};
    $self->window($id, $size)
        if $size && !$self->{manual} && !($flags & END_STREAM);

    $payload = unpad($payload) if $flags & PADDED;
    $stream->{body} .= $payload;
    $self->end($stream) if $flags & END_STREAM;
    return;
}


sub unpad { return substr $_[0], 1, length($_[0]) - 1 - ord $_[0] }


sub read_headers {
    my ($self, $flags, $id, $payload) = @_;

    $payload = unpad($payload) if $flags & PADDED;
    $payload = substr $payload, 5 if $flags & HAS_PRIORITY;
    $self->{block} = { id => $id, bytes => '', end => $flags & END_STREAM };
    return $self->read_continuation($flags, $id, $payload);
}


sub read_continuation {
    my ($self, $flags, $id, $payload) = @_;
    my $block = $self->{block};

    if (!$block || $block->{id} != $id) {
        $self->fault("CONTINUATION for stream $id");
        return;
    }

    $block->{bytes} .= $payload;
    return if !($flags & END_HEADERS);
    $self->{block} = undef;

    # It is decoded whosever it is: it may change the table.
    my @pairs = eval { $self->{hpack}->decode($block->{bytes}) };
    $self->fault($@ =~ s/\n//r) if $@;

    my $stream = $self->known($id, 'HEADERS') // return;
    my %headers;

    for my $pair (@pairs) {
        my ($name, $value) = @$pair;
        $headers{$name} = exists $headers{$name} ? "$headers{$name}, $value"
            : $value;
    }

    if (!defined $stream->{status}) {
        my $status = $headers{':status'} // 0;

        $self->fault("no status in stream $id") if $status !~ /^\d{3}$/;

        # 1xx comes before the answer.
        if ($status >= 200) {
            $stream->{status} = $status;
            $stream->{headers} = \%headers;
        }

    } else {
        $stream->{trailers} = \%headers;
        $self->fault("trailers do not end stream $id") if !$block->{end};
    }

    $self->end($stream) if $block->{end};
    return;
}


sub end {
    my ($self, $stream) = @_;
    my $length = ($stream->{headers} //= {})->{'content-length'};
    my $got = length $stream->{body};

    $stream->{ended} = 1;
    $self->fault("stream $stream->{id} has $got bytes of $length")
        if defined $length && $length != $got && !$stream->{head}
        && $stream->{status} != 304;
    $self->fault("stream $stream->{id} has a body after HEAD")
        if $stream->{head} && $got;
    return;
}


# A server that has answered resets a stream whose body is not finished: that
# is no fault, even after END_STREAM (RFC 9113 8.1).
sub read_reset {
    my ($self, undef, $id, $payload) = @_;
    my $stream = $self->{streams}{$id};

    if (!$stream) {
        $self->fault("RST_STREAM for stream $id, which was never opened");
        return;
    }

    $stream->{reset} = unpack 'N', $payload;
    $stream->{queue} = [];
    return;
}


sub read_settings {
    my ($self, $flags, undef, $payload) = @_;

    return if $flags & ACK;

    my @words = unpack '(nN)*', $payload;

    while (my ($name, $value) = splice @words, 0, 2) {
        next if $name != 4;
        $_->{peer_left} += $value - $self->{peer_initial}
            for values %{ $self->{streams} };
        $self->{peer_initial} = $value;
    }

    $self->frame(SETTINGS, ACK, 0, '');
    $self->pump($_) for $self->waiting;
    return;
}


# Streams with something to send.
sub waiting {
    my ($self) = @_;

    return grep { @{ $_->{queue} } } map { $self->{streams}{$_} }
        sort { $a <=> $b } keys %{ $self->{streams} };
}


sub read_ping {
    my ($self, $flags, undef, $payload) = @_;

    $flags & ACK ? $self->{pongs}++ : $self->frame(PING, ACK, 0, $payload);
    return;
}


sub read_goaway {
    my ($self, undef, undef, $payload) = @_;

    ($self->{last_stream}, $self->{went}) = unpack 'NN', $payload;
    return;
}


sub read_window {
    my ($self, undef, $id, $payload) = @_;
    my $bytes = unpack 'N', $payload;

    if ($id) {
        my $stream = $self->{streams}{$id} // return;

        $stream->{peer_left} += $bytes;
        $self->pump($stream);

    } else {
        $self->{peer_left} += $bytes;
        $self->pump($_) for $self->waiting;
    }

    return;
}

1;
