package Token::Hpack;

# Header compression of HTTP/2 (RFC 7541), as much as a client needs to talk to
# nginx: it writes literals that are not indexed, and reads everything.
#
#     my $hpack = Token::Hpack->new;                  # one for a connection
#     my $block = Token::Hpack::encode([':method' => 'GET', ...]);
#     my @pairs = $hpack->decode($block);             # ([name, value], ...)
#
# A block that is wrong makes decode() die.

use strict;
use warnings;

my @STATIC = map { [split /=/, $_, 2] } split /\|/, ':authority=|:method=GET'
    . '|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https'
    . '|:status=200|:status=204|:status=206|:status=304|:status=400|:status=404'
    . '|:status=500|accept-charset=|accept-encoding=gzip, deflate'
    . '|accept-language=|accept-ranges=|accept=|access-control-allow-origin='
    . '|age=|allow=|authorization=|cache-control=|content-disposition='
    . '|content-encoding=|content-language=|content-length=|content-location='
    . '|content-range=|content-type=|cookie=|date=|etag=|expect=|expires=|from='
    . '|host=|if-match=|if-modified-since=|if-none-match=|if-range='
    . '|if-unmodified-since=|last-modified=|link=|location=|max-forwards='
    . '|proxy-authenticate=|proxy-authorization=|range=|referer=|refresh='
    . '|retry-after=|server=|set-cookie=|strict-transport-security='
    . '|transfer-encoding=|user-agent=|vary=|via=|www-authenticate=';

# The Huffman code is canonical: the lengths of the codes of the bytes 0 to 255
# and of the end of a string tell the codes.
my @LENGTHS = map { my ($bits, $times) = split /x/; ($bits) x ($times // 1) }
    qw(13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3
    5x3 6x7 7 8 15 6 12 10 13 6 7x22 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6x3 5 7x2
    6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 22 23x5 24 23 24x2
    22 23 24 23x4 21 22 23 22 23x2 24 22 21 20 22x2 23x2 21 23 22x2 24 21 22
    23x2 21x2 22 21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 26x3
    27x2 26 24 25 19 21 26 27x2 26 27 24 21x2 26x2 28 27x3 20 24 20 21 22 21x2
    23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 27x5 26 30);

my %BYTE;

{
    my ($code, $last) = (0, 5);

    for my $symbol (sort { $LENGTHS[$a] <=> $LENGTHS[$b] || $a <=> $b } 0 .. 255)
    {
        my $length = $LENGTHS[$symbol];

        $code <<= $length - $last;
        $last = $length;
        $BYTE{ sprintf "%0${length}b", $code++ } = chr $symbol;
    }
}

my $CODES = join '|', keys %BYTE;


sub new { return bless { table => [], size => 0, limit => 4096 }, $_[0] }


sub encode {
    my ($headers) = @_;
    my @words = @$headers;
    my $block = '';

    while (my ($name, $value) = splice @words, 0, 2) {
        $block .= "\0" . string($name) . string($value);
    }

    return $block;
}


sub string { return integer(length $_[0], 7) . $_[0] }


sub integer {
    my ($value, $bits) = @_;
    my $most = (1 << $bits) - 1;

    return chr $value if $value < $most;

    my $bytes = chr $most;

    for ($value -= $most; $value > 127; $value >>= 7) {
        $bytes .= chr($value & 127 | 128);
    }

    return $bytes . chr $value;
}


sub decode {
    my ($self, $block) = @_;
    my @pairs;

    while (length $block) {
        my $first = ord $block;

        if ($first & 0x80) {
            push @pairs, $self->entry(take_integer(\$block, 7));

        } elsif (($first & 0xe0) == 0x20) {
            $self->resize(take_integer(\$block, 5));

        } else {
            my $indexed = $first & 0x40;
            my $index = take_integer(\$block, $indexed ? 6 : 4);
            my $name = $index ? $self->entry($index)->[0] : take_string(\$block);
            my $pair = [$name, take_string(\$block)];

            push @pairs, $pair;
            $self->add($pair) if $indexed;
        }
    }

    return @pairs;
}


sub entry {
    my ($self, $index) = @_;
    my $pair = !$index ? undef : $index <= @STATIC ? $STATIC[$index - 1]
        : $self->{table}[$index - @STATIC - 1];

    return $pair // die "HPACK: there is no entry $index\n";
}


sub add {
    my ($self, $pair) = @_;

    unshift @{ $self->{table} }, $pair;
    $self->{size} += 32 + length($pair->[0]) + length $pair->[1];
    $self->evict;
    return;
}


sub resize {
    my ($self, $size) = @_;

    die "HPACK: a table of $size bytes\n" if $size > 4096;
    $self->{limit} = $size;
    $self->evict;
    return;
}


sub evict {
    my ($self) = @_;

    while ($self->{size} > $self->{limit}) {
        my $pair = pop @{ $self->{table} };
        $self->{size} -= 32 + length($pair->[0]) + length $pair->[1];
    }

    return;
}


# These take what they read off the block.

sub take_integer {
    my ($block, $bits) = @_;
    my $most = (1 << $bits) - 1;
    my $value = ord(take($block, 1)) & $most;

    return $value if $value < $most;

    for (my $shift = 0; ; $shift += 7) {
        my $byte = ord take($block, 1);

        $value += ($byte & 127) << $shift;
        return $value if $byte < 128;
        die "HPACK: an integer is too large\n" if $shift > 21;
    }
}


sub take_string {
    my ($block) = @_;
    my $coded = ord($$block) & 0x80;
    my $bytes = take($block, take_integer($block, 7));

    return $bytes if !$coded;

    my $bits = unpack 'B*', $bytes;
    my $text = '';

    $text .= $BYTE{$1} while $bits =~ /\G($CODES)/gc;

    die "HPACK: a string's padding is wrong\n"
        if substr($bits, pos($bits) // 0) !~ /^1{0,7}$/;
    return $text;
}


sub take {
    my ($block, $length) = @_;

    die "HPACK: a block is cut off\n" if length $$block < $length;
    return substr $$block, 0, $length, '';
}

1;
