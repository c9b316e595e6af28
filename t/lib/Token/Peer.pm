package Token::Peer;

# Applications behind fastcgi_pass and uwsgi_pass: they answer with what they
# were given, a NAME=VALUE a line.
#
# A body is one more: "BODY=length MD5". The parameter REFUSE of FastCGI is the
# MD5 of the Authorization that is answered with 401.
#
#     my $peer = Token::Peer->fastcgi;    # or uwsgi
#     $peer->port;

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use IO::Socket::INET;
use POSIX ();
use Token::Util qw(end_child);


sub fastcgi { $_[0]->start(\&serve_fastcgi) }
sub uwsgi { $_[0]->start(\&serve_uwsgi) }
sub port { $_[0]{port} }


sub start {
    my ($class, $serve) = @_;

    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 16)
        or die "peer: $!\n";
    my $pid = fork // die "peer: $!\n";

    if ($pid == 0) {
        $SIG{PIPE} = 'IGNORE';

        while (my $client = $listen->accept) {
            eval { $serve->($client) };
            close $client;
        }

        POSIX::_exit(0);
    }

    return bless { pid => $pid, owner => $$, port => $listen->sockport },
        $class;
}


sub DESTROY { end_child($_[0]) }


sub take {
    my ($client, $length) = @_;
    my $bytes = '';

    while (length $bytes < $length) {
        sysread $client, $bytes, $length - length $bytes, length $bytes
            or die "cut off\n";
    }

    return $bytes;
}


sub serve_fastcgi {
    my ($client) = @_;
    my ($params, $body, $text) = ('', '', '');
    my %value = (REFUSE => 'none', HTTP_AUTHORIZATION => '');

    while (1) {
        my (undef, $type, undef, $length, $padding) = unpack 'CCnnC',
            take($client, 8);
        my $content = take($client, $length);

        take($client, $padding);
        $params .= $content if $type == 4;
        $body .= $content if $type == 5;
        last if $type == 5 && !$length;
    }

    while (length $params) {
        my @length = map {
            my $n = ord $params;
            $n = $n < 128 ? ord substr $params, 0, 1, ''
                : unpack('N', substr $params, 0, 4, '') & 0x7fffffff;
        } 1, 2;

        my $name = substr $params, 0, $length[0], '';
        my $value = substr $params, 0, $length[1], '';
        $text .= "$name=$value\n";
        $value{$name} = $value;
    }

    $text .= 'BODY=' . length($body) . ' ' . md5_hex($body) . "\n" if length $body;

    my $status = $value{REFUSE} eq md5_hex($value{HTTP_AUTHORIZATION}) ? 401 : 200;
    my $out = "Status: $status\r\nContent-Type: text/plain\r\n\r\n$text";

    syswrite $client, pack('CCnnCC', 1, 6, 1, length $out, 0, 0) . $out
        . pack('CCnnCC', 1, 6, 1, 0, 0, 0)
        . pack('CCnnCCNCxxx', 1, 3, 1, 8, 0, 0, 0, 0);
    return;
}


sub serve_uwsgi {
    my ($client) = @_;
    my (undef, $size) = unpack 'Cv', take($client, 4);
    my @words = unpack '(v/a)*', take($client, $size);
    my $text = '';

    while (my ($name, $value) = splice @words, 0, 2) {
        $text .= "$name=$value\n";
    }

    syswrite $client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        . "Content-Length: " . length($text) . "\r\n\r\n$text";
    return;
}

1;
