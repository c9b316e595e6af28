package Token::Backend;

# What stands behind an nginx with many callers at once: a token endpoint, an
# API, a service that checks access and a FastCGI application, in one process
# that waits for nobody. Each request says in its parameters what its answer is.
#
#     my $backend = Token::Backend->new;
#     $backend->port;          # HTTP; $backend->fastcgi_port
#     $backend->count;         # { token => 12, api => 3, "token n1" => 1, ... }
#
#     POST /token              a token; the parameters are those of the form
#     /api...                  what it was sent, a NAME=VALUE a line
#     /page?...                an HTML page with the includes that "inc" asks for
#     /authz                   200 with the right Authorization, or else 401
#
# Parameters (of a form or of a query; a refresh token may hold them as well,
# "RT-n-d100-hdead"):
#
#     n     the id of the caller's request: the token is "AT-<n>-<number>"
#     d     milliseconds until a token (20); "ad" until another answer
#     size  bytes to add to the token; "asize" to the API's answer
#     exp   expires_in (3600)
#     subject  the token that it is made of: of the same n, or of "whose"
#     bearer   1: that token is in a header
#     how   a status (500); "silent"; "close"; "half"; "revoked": 401 for the
#           first request of this n, as of an API that refuses a token

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(time);
use Token::Util qw(end_child);

# "me:me"
my $ALLOWED = 'Basic bWU6bWU=';

my %DEAD = (
    403       => [403, '{"error":"invalid_grant"}'],
    grant     => [400, '{"error":"invalid_grant"}'],
    request   => [400, '{"error":"invalid_request"}'],
    empty     => [400, ''],
);


sub new {
    my ($class) = @_;
    my ($http, $fastcgi) = map { listen_at() } 1, 2;

    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "backend: $!\n";

    my $pid = fork // die "backend: $!\n";

    if ($pid == 0) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        eval { serve($http, $fastcgi, $theirs); 1 }
            or print STDERR "backend: $@";
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush;

    return bless { pid => $pid, owner => $$, control => $ours,
        port => $http->sockport, fastcgi_port => $fastcgi->sockport }, $class;
}


sub listen_at {
    return IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
        Listen => 4096, Blocking => 0) // die "backend: $!\n";
}


sub port { $_[0]{port} }
sub fastcgi_port { $_[0]{fastcgi_port} }


sub count {
    my ($self) = @_;
    my $control = $self->{control};

    print $control "\n";
    return decode_json(scalar(<$control>) // die "backend: it has ended\n");
}


sub DESTROY { end_child($_[0]) }


# The child's part from here on.

my (%connection, %due, %count);
my ($reads, $writes) = ('', '');


sub serve {
    my ($http, $fastcgi, $control) = @_;
    my %special = map { fileno $_ => $_ } $http, $fastcgi, $control;

    vec($reads, $_, 1) = 1 for keys %special;

    while (1) {
        my ($first) = sort { $a <=> $b } keys %due;
        my $wait = defined $first ? $first / 200 - time : undef;

        $wait = 0 if defined $wait && $wait < 0;

        my $n = select my $readable = $reads, my $writable = $writes, undef, $wait;

        if ($n > 0) {
            for my $fd (set($readable)) {
                my $socket = $special{$fd};

                if (!$socket) {
                    take($connection{$fd}) if $connection{$fd};

                } elsif ($socket == $control) {
                    sysread $control, my $bytes, 1 or return;
                    print $control encode_json(\%count), "\n";
                    $control->flush;

                } else {
                    accept_all($socket, $socket == $fastcgi);
                }
            }

            for my $fd (set($writable)) {
                flush_out($connection{$fd}) if $connection{$fd};
            }
        }

        my $now = int(200 * time);

        for my $tick (sort { $a <=> $b } grep { $_ <= $now } keys %due) {
            for my $reply (@{ delete $due{$tick} }) {
                my ($one, $bytes, $close) = @$reply;

                next if !$connection{ $one->{fd} } || $connection{ $one->{fd} } != $one;

                $one->{out} .= $bytes;
                $one->{close} ||= $close;
                flush_out($one);
            }
        }
    }
}


# The descriptors of a bit vector.
sub set {
    my ($vector) = @_;
    my $bits = unpack 'b*', $vector;
    my ($at, @set) = (-1);

    push @set, $at while ($at = index $bits, '1', $at + 1) >= 0;
    return @set;
}


sub accept_all {
    my ($listen, $fastcgi) = @_;

    while (my $socket = $listen->accept) {
        my $fd = fileno $socket;

        $socket->blocking(0);
        $connection{$fd} = { socket => $socket, fd => $fd, in => '', out => '',
            fastcgi => $fastcgi };
        vec($reads, $fd, 1) = 1;
    }

    return;
}


sub drop {
    my ($one) = @_;

    vec($reads, $one->{fd}, 1) = 0;
    vec($writes, $one->{fd}, 1) = 0;
    delete $connection{ $one->{fd} };
    close $one->{socket};
    return;
}


sub flush_out {
    my ($one) = @_;

    while (length $one->{out}) {
        my $n = syswrite $one->{socket}, $one->{out}, 65536;

        if (!defined $n) {
            return drop($one) if $! != EAGAIN && $! != EWOULDBLOCK && $! != EINTR;
            vec($writes, $one->{fd}, 1) = 1;
            return;
        }

        substr $one->{out}, 0, $n, '';
    }

    vec($writes, $one->{fd}, 1) = 0;
    drop($one) if $one->{close};
    return;
}


sub take {
    my ($one) = @_;
    my $n = sysread $one->{socket}, $one->{in}, 65536, length $one->{in};

    return if !defined $n && ($! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR);
    return drop($one) if !$n;

    while (1) {
        my $request = $one->{fastcgi} ? fastcgi_request($one)
            : http_request($one);

        last if !$request;
        answer($one, $request);
    }

    return;
}


sub http_request {
    my ($one) = @_;

    if (!$one->{head}) {
        my $end = index $one->{in}, "\r\n\r\n";

        return if $end < 0;
        $one->{head} = substr $one->{in}, 0, $end + 4, '';
    }

    my $head = $one->{head};
    my $body = '';

    if ($head =~ /^Transfer-Encoding:\s*chunked/mi) {
        my ($in, $whole) = ($one->{in});

        while ($in =~ s/^([0-9a-f]+)[^\r\n]*\r\n//i) {
            my $size = hex $1;

            if (!$size) {
                $whole = $in =~ s/^(?:[^\r\n]+\r\n)*\r\n//;
                last;
            }

            last if length $in < $size + 2;
            $body .= substr $in, 0, $size, '';
            substr $in, 0, 2, '';
        }

        return if !$whole;
        $one->{in} = $in;

    } elsif ($head =~ /^Content-Length:\s*(\d+)/mi) {
        return if length $one->{in} < $1;
        $body = substr $one->{in}, 0, $1, '';
    }

    delete $one->{head};

    my ($method, $uri) = $head =~ m{^(\S+) (\S+)};
    my ($auth) = $head =~ /^Authorization:[ \t]*([^\r\n]*)/mi;

    return { method => $method, uri => $uri, body => $body, auth => $auth,
        length => $head =~ /^Content-Length:\s*(\d+)/mi ? $1 : undef };
}


sub fastcgi_request {
    my ($one) = @_;

    while (length $one->{in} >= 8) {
        my (undef, $type, undef, $length, $padding) = unpack 'CCnnC', $one->{in};

        return if length $one->{in} < 8 + $length + $padding;

        my $content = substr $one->{in}, 8, $length;
        substr $one->{in}, 0, 8 + $length + $padding, '';

        $one->{params} .= $content if $type == 4;
        $one->{body} .= $content if $type == 5;

        next if $type != 5 || $length;

        my %param = fastcgi_params(delete $one->{params});

        return { method => $param{REQUEST_METHOD}, uri => $param{REQUEST_URI},
            body => delete $one->{body} // '', auth => $param{HTTP_AUTHORIZATION},
            length => $param{CONTENT_LENGTH} };
    }

    return;
}


sub fastcgi_params {
    my ($bytes) = @_;
    my @words;

    while (length $bytes) {
        my @length = map {
            my $n = ord $bytes;
            $n < 128 ? ord substr $bytes, 0, 1, ''
                : unpack('N', substr $bytes, 0, 4, '') & 0x7fffffff;
        } 1, 2;

        push @words, map { substr $bytes, 0, $_, '' } @length;
    }

    return @words;
}


# What is sent for a request, and when.
sub answer {
    my ($one, $request) = @_;
    my ($path, $query) = $request->{uri} =~ /^([^?]*)\??(.*)/;
    my $token = $path =~ m{^/token};
    my %param = map { /^(\w+)=(.*)/ ? ($1 => $2) : () }
        split /&/, $token ? $request->{body} : $query;

    # a refresh token: what it was made for, and what is to become of it
    if (($param{refresh_token} // '') =~ /^RT-(\w+)-d(\d+)-h(\w*)-s(\d+)$/) {
        @param{qw(n d dead size)} = ($1, $2, $3, $4);
    }

    $_ //= '' for @param{qw(n how)};
    $_ ||= 0 for @param{qw(size)};

    my $name = $token ? 'token' : $path =~ m{^/(\w+)} ? $1 : 'other';
    my $number = ++$count{$name};
    my $again = $count{"$name $param{n}"}++;
    my ($status, $body, $type) = $token ? token(\%param, $number, $request)
        : $name eq 'authz' ? access_check($request)
        : $name eq 'page' ? page(\%param)
        : api($request, \%param, $again);

    return if $param{how} eq 'silent';

    push @{ $due{ int(200 * (time + (($token ? $param{d} : $param{ad}) || 20) / 1000)) } },
        $one->{fastcgi} ? [$one, fastcgi_bytes($status, $body), 1]
            : [$one, http_bytes($request, \%param, $status, $body, $type)];
    return;
}


sub token {
    my ($param, $number, $request) = @_;
    my $subject = $param->{bearer} ? ($request->{auth} // '') =~ s/^Bearer //r
        : $param->{subject};

    if (defined $subject) {
        my $whose = $param->{whose} // $param->{n};

        return (400, '{"error":"invalid_target"}') if $subject !~ /^AT-$whose-\d+x*$/;
    }

    if ($param->{dead}) {
        return @{ $DEAD{ $param->{dead} } // die "dead: $param->{dead}\n" };
    }

    return ($param->{how}, '{"error":"server_error"}') if $param->{how} =~ /^\d/;

    return (200, sprintf '{"access_token":"AT-%s-%d%s","refresh_token":"RT-%s",'
        . '"token_type":"Bearer","expires_in":%d}', $param->{n}, $number,
        'x' x $param->{size}, $param->{n}, $param->{exp} // 3600);
}


sub access_check {
    my ($request) = @_;

    return +($request->{auth} // '') eq $ALLOWED ? (200, 'let in')
        : (401, 'who is it?');
}


sub page {
    my ($param) = @_;
    my ($inc, $body) = ($param->{inc} // '', "page $param->{n}:");

    $body .= qq([<!--#include virtual="/$_?n=$param->{n}" -->])
        for split /,/, $inc;

    return (200, "$body end", 'text/html');
}


sub api {
    my ($request, $param, $again) = @_;

    return (401, "refused $param->{n}") if $param->{how} eq 'revoked' && !$again;

    return (200, join '', map { "$_->[0]=$_->[1]\n" }
        [method => $request->{method}], [n => $param->{n}],
        [length => length $request->{body}], [md5 => md5_hex $request->{body}],
        [auth => $request->{auth} // ''], [more => 'x' x ($param->{asize} || 0)]);
}


sub http_bytes {
    my ($request, $param, $status, $body, $type) = @_;

    return ('', 1) if $param->{how} eq 'close';

    $type //= $body =~ /^\{/ ? 'application/json' : 'text/plain';

    my $bytes = "HTTP/1.1 $status X\r\nContent-Type: $type\r\nContent-Length: "
        . length($body) . "\r\nConnection: close\r\n\r\n"
        . ($request->{method} eq 'HEAD' ? '' : $body);

    return (substr($bytes, 0, length($bytes) - length($body) / 2), 1)
        if $param->{how} eq 'half';

    return ($bytes, 1);
}


sub fastcgi_bytes {
    my ($status, $body) = @_;
    my $out = "Status: $status X\r\nContent-Type: text/plain\r\n\r\n$body";
    my $bytes = '';

    $bytes .= pack('CCnnCC', 1, 6, 1, length, 0, 0) . $_
        for unpack '(a32000)*', $out;

    return $bytes . pack('CCnnCC', 1, 6, 1, 0, 0, 0)
        . pack('CCnnCCNCxxx', 1, 3, 1, 8, 0, 0, 0, 0);
}

1;
